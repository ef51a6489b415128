"""What every back end must do, put to each of them: capabilities claimed are capabilities working."""

import json
import math

import pytest

from checkpoints import tiny_checkpoint, tiny_classifier, tiny_encoder
from servers.running import Stub
from tutelage import backends
from tutelage.backends import scripted
from tutelage.capabilities import Classifies, Embeds, Generates, Sampling, Scores
from tutelage.records import Prompt

PROMPTS = [
    Prompt.user(text)
    for text in (
        "Mon 8 Tue 3 ?",
        "Does Bob lie ?",
        "what is 7 times 6 ?",
        "Mon 8 Tue 3 ?",
        "a long one about three lamps and two books and Bob and what Alice says of Bob",
    )
]
TEXTS = ["42", "No, he does not.", "Mon 8 8 ; Tue 3 1 => 1", "42", ""]
GREEDY = Sampling(max_tokens=8)
DRAWN = Sampling(max_tokens=8, temperature=1.0, n=3, seed=5)


def _scripted(folder):
    scripted.register(
        scripted.Script(
            name="contract",
            answer=lambda prompt, sample, seed: f"{prompt.text.split()[0]} number {sample} of seed {seed} => and so on and so on",
            score=lambda prompt, text: tuple(-1.0 - len(word) / 10 for word in [*text.split(), "end"]),
            embed=lambda text: (float(len(text)), 1.0),
        )
    )
    return "scripted:contract"


def _recorded(folder):
    rows = [{"prompt": p.text, "completion": f"{p.text} sample {i} => done and so on"} for p in dict.fromkeys(PROMPTS) for i in range(3)]
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return f"recorded:{folder / 'answers.jsonl'}"


def _hf(family, **options):
    return lambda folder: f"hf:{tiny_checkpoint(folder / family, family, **{'spread': 1.0, **options})}"


ALL = {"generate", "score", "embed"}
CLAIMS = {
    "scripted": ALL,
    "recorded": {"generate"},
    "llama": ALL,
    "gpt2": ALL,
    "qwen3-chat": ALL,
    "sliding-window": ALL,
    "encoder": {"embed"},
    "classifier": {"embed", "classify"},
    "bundled": ALL,
    "endpoint": ALL,
}
MAKERS = {
    "scripted": _scripted,
    "recorded": _recorded,
    "llama": _hf("llama"),
    "gpt2": _hf("gpt2"),
    "qwen3-chat": _hf("qwen3", chat=True),
    "sliding-window": _hf("mistral-window"),
    "encoder": lambda folder: f"hf:{tiny_encoder(folder / 'encoder')}",
    "classifier": lambda folder: f"hf:{tiny_classifier(folder / 'classifier')}",
    "bundled": lambda folder: "bundled:student",
}


@pytest.fixture(scope="module")
def model(request, tmp_path_factory):
    if request.param == "endpoint":
        with Stub() as stub:
            opened = _open(stub.name(score="ids"))
            yield opened
            opened[2].close()
    else:
        yield _open(MAKERS[request.param](tmp_path_factory.mktemp(request.param)))


def _open(name):
    ref = backends.resolve(name)
    return ref, backends.facts(ref), backends.open_backend(ref)


def those_that(capability, but=()):
    able = [kind for kind, claimed in CLAIMS.items() if capability in claimed and kind not in but]
    return pytest.mark.parametrize("model", able, indirect=True)


@pytest.mark.parametrize(("model", "claims"), CLAIMS.items(), indirect=["model"], ids=CLAIMS.keys())
def test_methods_are_those_of_the_claimed_capabilities(model, claims):
    ref, facts, backend = model
    assert facts.capabilities - {"train"} == claims
    kinds = {"generate": Generates, "score": Scores, "embed": Embeds, "classify": Classifies}
    has = {name: isinstance(backend, kind) for name, kind in kinds.items()}
    if ref.name.startswith("openai:"):  # one class for all endpoints; which of them score is a matter of address
        assert all(has[c] for c in facts.capabilities)
    else:
        assert {c for c, there in has.items() if there} == facts.capabilities - {"train"}
    assert backends.resolve(ref.name).digest == ref.digest


@those_that("generate")
def test_answers_come_in_order_and_equal_requests_get_equal_answers(model):
    rows = model[2].generate(PROMPTS, GREEDY)
    assert [len(row) for row in rows] == [1] * len(PROMPTS)
    assert rows[0] == rows[3]
    assert model[2].generate(PROMPTS[::-1], GREEDY) == rows[::-1]
    assert [model[2].generate([p], GREEDY)[0] for p in PROMPTS] == rows


@pytest.mark.parametrize("model", CLAIMS, indirect=True)
def test_nothing_asked_is_nothing_answered(model):
    _, facts, backend = model
    if "generate" in facts.capabilities:
        assert backend.generate([], GREEDY) == []
    if "score" in facts.capabilities:
        assert backend.score([], []) == []
    if "embed" in facts.capabilities:
        assert backend.embed([]) == []


@those_that("generate")
def test_samples_are_as_many_as_asked_and_repeatable(model):
    rows = model[2].generate(PROMPTS, DRAWN)
    assert [len(row) for row in rows] == [3] * len(PROMPTS)
    assert rows[0] == rows[3]
    assert model[2].generate(PROMPTS[::-1], DRAWN)[::-1] == rows
    assert any(len({c.text for c in row}) > 1 for row in rows)


@those_that("generate", but=("recorded",))
def test_another_seed_gives_other_samples(model):
    other = Sampling(max_tokens=8, temperature=1.0, n=3, seed=6)
    assert model[2].generate(PROMPTS, other) != model[2].generate(PROMPTS, DRAWN)


@those_that("generate")
def test_lengths_are_counted_and_bounded(model):
    for row in model[2].generate(PROMPTS, Sampling(max_tokens=3)):
        (answer,) = row
        assert answer.finish in ("stop", "length")
        assert 0 <= answer.completion_tokens <= 3
        assert answer.finish == "stop" or answer.completion_tokens == 3
        assert answer.prompt_tokens > 0
    short, long = model[2].generate([PROMPTS[0], PROMPTS[4]], GREEDY)
    assert short[0].prompt_tokens < long[0].prompt_tokens


@those_that("generate")
def test_a_stop_text_ends_the_answer_and_is_cut_off(model):
    whole = [row[0] for row in model[2].generate(PROMPTS, GREEDY)]
    tried = 0
    for prompt, answer in zip(PROMPTS, whole, strict=True):
        if len(answer.text) < 2:
            continue
        stop = answer.text[len(answer.text) // 2]
        cut = model[2].generate([prompt], Sampling(max_tokens=8, stop=(stop, "never said")))[0][0]
        assert cut.text == answer.text[: answer.text.index(stop)]
        assert cut.finish == "stop"
        assert cut.completion_tokens <= answer.completion_tokens
        tried += 1
    assert tried >= 3


@those_that("generate")
def test_logprobs_of_answers_are_one_per_token_where_there_are_any(model):
    for row in model[2].generate(PROMPTS, Sampling(max_tokens=5, temperature=1.0, seed=1, logprobs=True)):
        if row[0].logprobs is not None:
            assert len(row[0].logprobs) == row[0].completion_tokens
            assert all(p <= 0 and math.isfinite(p) for p in row[0].logprobs)


@those_that("score")
def test_scores_come_in_order_and_are_log_probabilities(model):
    scores = model[2].score(PROMPTS, TEXTS)
    assert len(scores) == len(PROMPTS)
    assert scores[0] == scores[3]
    assert model[2].score(PROMPTS[::-1], TEXTS[::-1]) == scores[::-1]
    assert all(p <= 0 and math.isfinite(p) for s in scores for p in s.logprobs)
    assert len(scores[1].logprobs) > len(scores[4].logprobs)
    assert all(s.prompt_tokens > 0 for s in scores)


@those_that("embed")
def test_vectors_come_in_order_and_have_one_length(model):
    vectors = model[2].embed(["three lamps", "Bob lies", "three lamps"])
    assert vectors[0] == vectors[2]
    assert vectors[0] != vectors[1]
    assert len({len(v) for v in vectors}) == 1
    assert model[2].embed(["Bob lies"])[0] == pytest.approx(vectors[1], abs=1e-5)


@those_that("classify")
def test_class_probabilities_come_in_order_and_add_up(model):
    texts = ["three lamps", "Bob lies", "three lamps", "x " * 500]
    rows = model[2].classify(texts)
    assert rows[0] == rows[2]
    assert {len(row) for row in rows} == {len(model[1].labels)} == {3}
    assert all(sum(row) == pytest.approx(1, abs=1e-5) and min(row) >= 0 for row in rows)
    assert model[2].classify(["Bob lies"])[0] == pytest.approx(rows[1], abs=1e-5)
    assert model[2].classify([]) == []


def test_every_kind_of_model_name_is_under_contract():
    assert set(CLAIMS) == {*MAKERS, "endpoint"}
    assert set(backends._RESOLVERS) == {"bundled", "encoder", "hf", "openai", "recorded", "scripted"}
