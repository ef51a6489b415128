"""Shared prefixes against the plainest thing there is: one request at a time, everything encoded anew, no cache."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from checkpoints import FAMILIES, tiny_checkpoint
from tutelage.engine import decode
from tutelage.engine.decode import generate_ids, score_ids, shareable
from tutelage.engine.loading import open_model, quiet_peft
from tutelage.engine.noise import pick, row_key, uniform
from tutelage.engine.shared import Sizes

SHARED = [f for f in FAMILIES if f != "mistral-window"]
TOP = 300


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    return {f: open_model(tiny_checkpoint(tmp_path_factory.mktemp(f), f, spread=1.0), device="cpu").module for f in FAMILIES}


@torch.no_grad()
def naive_logits(module, ids):
    return module(torch.tensor([list(ids)])).logits[0].double()


def naive_greedy(module, prompt, max_tokens, stop_ids, vocabulary):
    ids, gaps = list(prompt), []
    for _ in range(max_tokens):
        last = naive_logits(module, ids)[-1, :vocabulary]
        first, second = last.topk(2).values.tolist()
        gaps.append(first - second)
        ids.append(int(last.argmax()))
        if ids[-1] in stop_ids:
            break
    return tuple(ids[len(prompt) :]), min(gaps)


def naive_score(module, prompt, completion):
    logits = naive_logits(module, [*prompt, *completion]).log_softmax(-1)
    return [float(logits[len(prompt) + i - 1, token]) for i, token in enumerate(completion)]


def assert_border_case(module, prompt, sample, one, other, *, seed):
    """Two draws may part only where the noise falls onto the border between two ids, within rounding."""
    place = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    noise = uniform(np.array([row_key(seed, prompt, sample)], dtype=np.uint64), place)[0]
    borders = naive_logits(module, (*prompt, *one[:place]))[-1].softmax(-1).cumsum(0)
    assert (borders - noise).abs().min() < 1e-5


def ragged_prompts(seed, demos=4, probes=4):
    rng = random.Random(seed)

    def words(low, high):
        return tuple(rng.randrange(TOP) for _ in range(rng.randrange(low, high)))

    head = words(0, 30)
    fronts = [head + words(10, 45) for _ in range(demos)]
    backs = [words(1, 14) for _ in range(probes)]
    rows = [f + b for f in fronts for b in backs]
    rows += [words(1, 3), fronts[0], fronts[0][:15], rows[0]]
    rng.shuffle(rows)
    return rows


def test_only_the_sliding_window_is_refused(modules):
    assert {f: shareable(m) for f, m in modules.items()} == {f: f in SHARED for f in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=2)
@given(seed=st.integers(0, 10**6))
def test_greedy_answers_are_those_of_one_request_at_a_time(modules, family, seed):
    module, prompts = modules[family], ragged_prompts(seed)
    rng = random.Random(seed)
    bounds = [rng.randrange(1, 9) for _ in prompts]
    stop_ids = {rng.randrange(TOP) for _ in range(20)}
    found = generate_ids(module, prompts, max_tokens=bounds, stop_ids=stop_ids, vocabulary=TOP)
    compared = 0
    for prompt, bound, (answer,) in zip(prompts, bounds, found, strict=True):
        expected, gap = naive_greedy(module, prompt, bound, stop_ids, TOP)
        if gap < 1e-4:
            continue
        compared += 1
        assert answer.ids == expected
        assert answer.finish == ("stop" if expected[-1] in stop_ids else "length")
    assert compared >= len(prompts) - 2


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=2)
@given(seed=st.integers(0, 10**6))
def test_scores_are_those_of_one_request_at_a_time(modules, family, seed):
    module, prompts = modules[family], ragged_prompts(seed)
    rng = random.Random(seed + 1)
    completions = [tuple(rng.randrange(TOP) for _ in range(rng.randrange(0, 12))) for _ in prompts]
    scores = score_ids(module, prompts, completions)
    for prompt, completion, row in zip(prompts, completions, scores, strict=True):
        assert row == pytest.approx(naive_score(module, prompt, completion), abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_of_drawn_tokens_are_those_that_scoring_gives(modules, family):
    prompts = ragged_prompts(3)
    found = generate_ids(
        modules[family], prompts, max_tokens=10, stop_ids=[1], temperature=0.7, top_p=0.9, samples=2, seed=5, logprobs=True
    )
    flat = [(p, d) for p, row in zip(prompts, found, strict=True) for d in row]
    scores = score_ids(modules[family], [p for p, _ in flat], [d.ids for _, d in flat])
    assert all(d.logprobs == pytest.approx(s, abs=1e-4) for (_, d), s in zip(flat, scores, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("long", [False, True], ids=["copied", "shared"])
def test_samples_do_not_depend_on_the_company(modules, family, long):
    module = modules[family]
    prompts = ragged_prompts(7, demos=2, probes=3) if family in SHARED else ragged_prompts(7, demos=1, probes=2)
    if long:
        prompts = [tuple(range(60)) + p for p in prompts]
    options = {"max_tokens": 12, "stop_ids": [1, 2, 3], "temperature": 1.0, "seed": 11}
    together = generate_ids(module, prompts, samples=3, **options)
    assert [generate_ids(module, [p], samples=3, **options)[0] for p in prompts[:4]] == together[:4]
    assert generate_ids(module, prompts[::-1], samples=3, **options)[::-1] == together
    alone = generate_ids(module, prompts, samples=3, share=False, **options)
    pairs = [
        (p, i, a.ids, b.ids) for p, x, y in zip(prompts, together, alone, strict=True) for i, (a, b) in enumerate(zip(x, y, strict=True))
    ]
    differing = [pair for pair in pairs if pair[2] != pair[3]]
    assert len(differing) <= 2
    for prompt, sample, ours, theirs in differing:
        assert_border_case(module, prompt, sample, ours, theirs, seed=11)
    first = generate_ids(module, prompts, samples=1, **options)
    assert [row[:1] for row in together] == first, "the first sample is the same however many follow"
    assert generate_ids(module, prompts, samples=3, **{**options, "seed": 12}) != together
    assert len({d.ids for d in together[0]}) > 1


def test_equal_requests_are_encoded_once_and_samples_share_their_prompt(modules):
    tokens = Counter()
    module = modules["llama"]
    shareable(module)
    watch = module.model.embed_tokens.register_forward_hook(lambda m, given, out: tokens.update(encoded=given[0].numel()))
    prompt = tuple(range(70))
    generate_ids(module, [prompt] * 5 + [(*prompt[:-1], 3)], max_tokens=1, stop_ids=[], temperature=1.0, samples=4, seed=0)
    assert tokens["encoded"] == 69 + 1 + 1
    tokens.clear()
    score_ids(module, [prompt] * 3, [(1, 2, 3), (1, 2, 3), (4,)])
    watch.remove()
    # The last prompt token stays in each leaf: it predicts the first completion token. The last completion token is never read.
    assert tokens["encoded"] == 69 + 3 + 1


def test_finished_rows_leave_the_batch(modules):
    module, prompts = modules["llama"], ragged_prompts(1)
    shareable(module)
    sizes = []
    watch = module.model.embed_tokens.register_forward_hook(lambda m, given, out: sizes.append(given[0].numel()))
    bounds = [2 + 2 * i for i in range(len(prompts))]
    generate_ids(module, prompts, max_tokens=bounds, stop_ids=[], share=True)
    watch.remove()
    steps = sizes[-(max(bounds) - 1) :]
    assert sum(steps) < 0.8 * len(steps) * steps[0]
    assert steps[-1] == 1


def test_small_working_memory_changes_nothing(modules, monkeypatch):
    module, prompts = modules["qwen3"], ragged_prompts(5, demos=6, probes=6)
    completions = [(i % TOP, 5, 6) for i in range(len(prompts))]
    options = {"max_tokens": 12, "stop_ids": [7], "temperature": 1.0, "samples": 2, "seed": 2}
    whole, scored = generate_ids(module, prompts, **options), score_ids(module, prompts, completions)
    monkeypatch.setattr("tutelage.engine.shared.sizes_for", lambda module: Sizes(pass_tokens=64, pass_logits=2048, held_tokens=400))
    assert generate_ids(module, prompts, **options) == whole
    for a, b in zip(score_ids(module, prompts, completions), scored, strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def test_long_completions_outgrow_the_first_room(modules):
    prompts = [tuple(range(20)) + (i,) for i in range(3)]
    options = {"max_tokens": 110, "stop_ids": [], "vocabulary": TOP}
    answers = generate_ids(modules["llama"], prompts, **options)
    assert [len(row[0].ids) for row in answers] == [110] * 3
    assert answers == generate_ids(modules["llama"], prompts, share=False, **options)


def test_a_module_in_training_is_left_as_it_was(modules):
    module = modules["llama"]
    module.train()
    module.model.layers[0].eval()
    module.requires_grad_(True)
    before = module.config._attn_implementation
    generate_ids(module, [(1, 2, 3)], max_tokens=2, stop_ids=[])
    assert module.config._attn_implementation == before
    assert module.training
    assert not module.model.layers[0].training
    loss = module(torch.tensor([[1, 2, 3]])).logits.sum()
    loss.backward()
    assert module.lm_head.weight.grad is not None
    module.eval()
    module.zero_grad()


@pytest.mark.parametrize("share", [True, False])
def test_a_module_with_the_attention_of_training_can_be_asked(modules, share):
    from tutelage.train.attention import NAME, register

    module = modules["qwen3"]
    expected = generate_ids(module, ragged_prompts(9), max_tokens=4, stop_ids=[], share=share)
    decode._SHAREABLE.pop(module, None)
    before = module.config._attn_implementation
    register()
    module.set_attn_implementation(NAME)
    try:
        assert shareable(module)
        assert generate_ids(module, ragged_prompts(9), max_tokens=4, stop_ids=[], share=share) == expected
        assert module.config._attn_implementation == NAME
    finally:
        module.set_attn_implementation(before)


def test_adapters_are_asked_too(tmp_path):
    from peft import LoraConfig, get_peft_model

    module = open_model(tiny_checkpoint(tmp_path, "llama", spread=1.0), device="cpu").module
    plain = generate_ids(module, ragged_prompts(2), max_tokens=6, stop_ids=[], vocabulary=TOP)
    with quiet_peft():
        adapted = get_peft_model(module, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=2.0, generator=torch.Generator().manual_seed(0))
    adapted.eval()
    assert shareable(adapted)
    answers = generate_ids(adapted, ragged_prompts(2), max_tokens=6, stop_ids=[], vocabulary=TOP)
    assert answers == generate_ids(adapted, ragged_prompts(2), max_tokens=6, stop_ids=[], vocabulary=TOP, share=False)
    assert answers != plain


def test_an_architecture_that_answers_otherwise_is_found_out(modules, tmp_path):
    """A module whose attention ignores what it is handed must fail the trial, whatever its configuration says."""
    module = open_model(tiny_checkpoint(tmp_path, "llama", spread=1.0), device="cpu").module
    layer = module.model.layers[1].self_attn

    def windowed(*args, attend=layer.forward, **options):
        return attend(*args, **options, sliding_window=4)

    layer.forward = windowed
    assert not shareable(module)
    answers = generate_ids(module, ragged_prompts(4), max_tokens=3, stop_ids=[])
    assert answers == generate_ids(module, ragged_prompts(4), max_tokens=3, stop_ids=[], share=False)


def test_stop_function_sees_every_growing_completion(modules):
    prompts = ragged_prompts(6)[:5]
    answers = generate_ids(modules["gpt2"], prompts, max_tokens=9, stop_ids=[], stop=lambda ids: len(ids) >= 4)
    assert {(len(row[0].ids), row[0].finish) for row in answers} == {(4, "stop")}


def test_spare_ids_of_a_wide_table_are_never_drawn(modules):
    answers = generate_ids(
        modules["llama"], ragged_prompts(8), max_tokens=20, stop_ids=[], temperature=5.0, seed=1, samples=4, vocabulary=50
    )
    drawn = {i for row in answers for d in row for i in d.ids}
    assert max(drawn) < 50
    assert len(drawn) > 40


def test_empty_calls_and_empty_prompts(modules):
    module = modules["llama"]
    assert generate_ids(module, [], max_tokens=3, stop_ids=[]) == []
    assert score_ids(module, [], []) == []
    assert score_ids(module, [(1,)], [()]) == [()]
    with pytest.raises(ValueError, match="without tokens"):
        generate_ids(module, [()], max_tokens=3, stop_ids=[])
    with pytest.raises(ValueError, match="without a token"):
        score_ids(module, [()], [(1,)])


def test_draws_follow_the_models_distribution(modules):
    module, prompt = modules["llama"], (5, 9, 60)
    weights = (naive_logits(module, prompt)[-1] / 1.3).softmax(-1).numpy()
    count = 20_000
    answers = generate_ids(module, [prompt], max_tokens=1, stop_ids=[], temperature=1.3, samples=count, seed=4)
    drawn = np.bincount([d.ids[0] for d in answers[0]], minlength=len(weights))
    large = weights * count >= 5
    seen = [*drawn[large], drawn[~large].sum()]
    expected = [*(weights[large] * count), weights[~large].sum() * count]
    assert len(seen) > 20
    assert chisquare(seen, expected).pvalue > 1e-3


def test_second_tokens_are_independent_of_the_first_draw():
    keys = np.array([row_key(0, (1, 2), i) for i in range(50_000)], dtype=np.uint64)
    a, b = uniform(keys, 0), uniform(keys, 1)
    table, *_ = np.histogram2d(a, b, bins=10, range=[[0, 1], [0, 1]])
    assert chisquare(table.ravel()).pvalue > 1e-3
    assert 0 <= a.min() < a.max() < 1


def test_row_keys_tell_seed_prompt_and_sample_apart():
    keys = {row_key(s, p, i) for s in range(3) for p in [(), (0,), (0, 0), (1,), (1, 0)] for i in range(3)}
    assert len(keys) == 45


def test_picking_by_quantile():
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().repeat(4, 1)
    noise = np.array([0.0, 0.49, 0.51, 0.999999])
    assert pick(logits, temperature=1.0, top_p=1.0, noise=noise).tolist() == [0, 0, 1, 2]
    assert pick(logits, temperature=1.0, top_p=0.6, noise=noise).tolist() == [0, 0, 0, 1], "0.5 and 0.3 are left, as 0.625 and 0.375"
    assert pick(logits, temperature=1.0, top_p=0.5, noise=noise).tolist() == [0, 0, 0, 0]
    certain = torch.tensor([[-float("inf"), 3.0, -float("inf")]])
    assert pick(certain, temperature=1.0, top_p=1.0, noise=np.array([0.0])).tolist() == [1]
    assert pick(certain, temperature=1.0, top_p=1.0, noise=np.array([1 - 1e-16])).tolist() == [1]
    assert pick(torch.tensor([[1.0, 2.0, 2.0]]), temperature=0.0, top_p=1.0, noise=None).tolist() == [1]


def test_spelled_out_attention_is_what_the_fused_kernel_gives():
    """Off the CPU there is no fused kernel with log-sums; the written-out one is tested here."""
    from tutelage.engine.attention import _spelled_out, _with_log_sums

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 2, 7, 8, generator=generator) for _ in range(3))
    mask = torch.zeros(3, 7)
    mask[1, 4:] = mask[2, 1:] = float("-inf")
    for causal, m in ((True, None), (False, mask), (False, None)):
        spelled, fused = (f(q, k, v, 0.3, causal=causal, mask=m) for f in (_spelled_out, _with_log_sums))
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(spelled, fused, strict=True))


def test_the_trial_runs_once_per_module(modules):
    assert modules["llama"] in decode._SHAREABLE
