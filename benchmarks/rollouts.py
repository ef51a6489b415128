"""Rollouts: n samples of one prompt, ours (which encodes the prompt once) against `transformers` in the same invocation.

    python benchmarks/rollouts.py                                   # both models, about five minutes of one core
    python benchmarks/rollouts.py --only bundled --prompts 8 --repeats 2

Workload: 8 samples at temperature 1 of each of several prompts of 256 tokens, exactly 32 new tokens each. The other side is
`generate(do_sample=True, num_return_sequences=8)`, prompts of equal length so that nothing is padded, over one prompt at a time or all at
once: the faster of the two counts. Ours also returns the log-probability of every token drawn, as training needs it; the other side does
not. Both sides in one process on one thread, repeats in pairs, figures are medians of the repeats' ratios.

Two limits stand beside it. *Tokens*: how many tokens the other side processes over how many distinct ones there are. *Parts*: the speed-up
that transformers' own forward passes would allow if the prompt were encoded once, its cache repeated over the samples, and drawing cost
nothing; more than all of it can be reached, since ours also reads the prompt's part of the cache once for all samples.

The same distribution: the first three tokens of thousands of samples of one prompt, against the probabilities that the model's plain
forward pass gives (chi-square, sequences rarer than five expected draws in one cell), for both sides and against each other. As a check of
the check, draws at temperature 0.8 must be told apart. Exit 1 where a distribution is not the model's (p below 0.001) or the check is
blind.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from one_shot_scoring import wider
from tutelage import backends
from tutelage.engine.decode import generate_ids
from tutelage.engine.loading import no_bars
from tutelage.measure.chi_square import Fit, goodness_of_fit, same_distribution
from tutelage.prompts.dialects import FOLDS
from tutelage.tasks.folds_world import TARGETS, draw_question, write_steps

SAMPLES, PROMPT_TOKENS, NEW_TOKENS = 8, 256, 32
SHORTER = 48
"""Tokens of the prompt whose continuations are counted, since the other side encodes it for every one of thousands of samples."""
AT_ONCE = 500
TARGET = 1.7
DEPTH, DRAWS, LEAST_P = 3, 6000, 1e-3
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def bundled(count: int, scratch: Path) -> tuple[Any, list[list[int]]]:
    """The bundled teacher behind solved questions of its world, where the next question begins; cut to the length at the front."""
    folder = wider(Path(str(backends.resolve("bundled:teacher").path)), scratch / "model", 512)
    opened = backends.open_backend(backends.resolve(f"hf:{folder}"), device="cpu").model
    rng = random.Random(0)
    prompts = []
    for _ in range(count):
        text, ids = "Q :", []
        while len(ids) < PROMPT_TOKENS:
            question = draw_question(rng, rng.choice(TARGETS))
            text = FOLDS.demonstration.format(question=question.text, rationale=write_steps(question, rng)) + "\n\n" + text
            ids = opened.rendering.completion_ids(text, end=False)
        prompts.append(ids[-PROMPT_TOKENS:])
    return opened.module, prompts


def larger(count: int, scratch: Path) -> tuple[Any, list[list[int]]]:
    """A Llama of 20 million parameters with random weights, where arithmetic counts for more than the number of calls."""
    sizes: dict[str, Any] = {
        "hidden_size": 512,
        "intermediate_size": 1376,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    }
    torch.manual_seed(0)
    module = LlamaForCausalLM(LlamaConfig(vocab_size=4096, max_position_embeddings=512, **sizes)).eval()
    rng = random.Random(0)
    return module, [[rng.randrange(4096) for _ in range(PROMPT_TOKENS)] for _ in range(count)]


MODELS = {"bundled": (bundled, 16), "larger": (larger, 4)}
"""Name -> (what makes it, prompts)."""


def ours(module: Any, prompts: Sequence[Sequence[int]], *, samples: int = SAMPLES, tokens: int = NEW_TOKENS, **options: Any) -> list[Any]:
    options = {"temperature": 1.0, "seed": 0, "logprobs": True, **options}
    return generate_ids(module, prompts, max_tokens=tokens, stop_ids=(), samples=samples, **options)


def theirs(
    module: Any, prompts: Sequence[Sequence[int]], size: int, *, samples: int = SAMPLES, tokens: int = NEW_TOKENS
) -> list[list[int]]:
    rows: list[list[int]] = []
    options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "pad_token_id": 0, "eos_token_id": None}
    for start in range(0, len(prompts), size):
        table = torch.tensor([list(p) for p in prompts[start : start + size]])
        out = module.generate(
            input_ids=table, attention_mask=torch.ones_like(table), num_return_sequences=samples, max_new_tokens=tokens, **options
        )
        rows += out[:, table.shape[1] :].tolist()
    return rows


@torch.no_grad()
def bare_parts(module: Any, prompts: Sequence[Sequence[int]], size: int) -> None:
    """The prompt of each row group once, then a forward pass per further token; what is drawn does not matter."""
    for start in range(0, len(prompts), size):
        table = torch.tensor([list(p) for p in prompts[start : start + size]])
        cache = DynamicCache(config=module.config)
        module(input_ids=table, past_key_values=cache, logits_to_keep=1)
        cache.batch_repeat_interleave(SAMPLES)
        token = torch.zeros(len(table) * SAMPLES, 1, dtype=torch.long)
        for _ in range(NEW_TOKENS - 1):
            module(input_ids=token, past_key_values=cache)


def seconds(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def speed(name: str, module: Any, prompts: list[list[int]], repeats: int, clock: Callable[[], float]) -> dict[str, Any]:
    sizes = sorted({1, len(prompts)})
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: ours(module, prompts)}
    for size in sizes:
        calls[f"theirs {size}"] = lambda size=size: theirs(module, prompts, size)
        calls[f"parts {size}"] = lambda size=size: bare_parts(module, prompts, size)
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {label: [] for label in calls}
    for repeat in range(repeats):
        for label in calls if repeat % 2 == 0 else reversed(calls):
            times[label].append(seconds(calls[label], clock))
    peer, parts = (
        min((f"{side} {size}" for size in sizes), key=lambda label: statistics.median(times[label])) for side in ("theirs", "parts")
    )
    ratios = sorted(t / o for t, o in zip(times[peer], times["ours"], strict=True))
    limits = [t / p for t, p in zip(times[peer], times[parts], strict=True)]
    rows = len(prompts) * SAMPLES
    row = {
        "samples": rows,
        "samples_per_s": {label: rows / statistics.median(t) for label, t in times.items()},
        "peer": peer,
        "speedup": statistics.median(ratios),
        "range": (ratios[0], ratios[-1]),
        "limit_parts": statistics.median(limits),
        "limit_tokens": SAMPLES * (PROMPT_TOKENS + NEW_TOKENS) / (PROMPT_TOKENS + SAMPLES * NEW_TOKENS),
    }
    shown = ", ".join(f"{label} {n:.1f}" for label, n in row["samples_per_s"].items())
    print(f"{name}: {len(prompts)} prompts of {PROMPT_TOKENS} tokens, {SAMPLES} samples of {NEW_TOKENS} tokens each")
    print(f"  samples/s  {shown} (a number is prompts at once)")
    print(f"  speed-up   {row['speedup']:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) against '{peer}', asked for {TARGET}")
    limits_shown = (("token counts", row["limit_tokens"]), ("bare parts", row["limit_parts"]))
    print("  limits     " + "; ".join(f"{x:.2f} by {how}, reached {100 * row['speedup'] / x:.0f} %" for how, x in limits_shown))
    return row


@torch.no_grad()
def likely(module: Any, prompt: Sequence[int], *, depth: int, least: float) -> dict[tuple[int, ...], float]:
    """Every continuation of `depth` tokens with at least this probability, by plain forward passes."""
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(depth):
        grown: dict[tuple[int, ...], float] = {}
        for start, p in found.items():
            chances = module(torch.tensor([[*prompt, *start]])).logits[0, -1].double().softmax(-1)
            for token in torch.nonzero(p * chances >= least).flatten().tolist():
                grown[(*start, token)] = p * float(chances[token])
        found = grown
    return found


def distribution(name: str, module: Any, prompt: list[int], draws: int) -> dict[str, Fit]:
    chances = likely(module, prompt, depth=DEPTH, least=5 / draws)

    def drawn(**options: Any) -> Counter[tuple[int, ...]]:
        return Counter(d.ids for d in ours(module, [prompt], samples=draws, tokens=DEPTH, **options)[0])

    torch.manual_seed(1)
    lots = [theirs(module, [prompt], 1, samples=min(AT_ONCE, draws - start), tokens=DEPTH) for start in range(0, draws, AT_ONCE)]
    other = Counter(tuple(row) for lot in lots for row in lot)
    mine = drawn()
    fits = {
        "ours against the model": goodness_of_fit(mine, chances),
        "transformers against the model": goodness_of_fit(other, chances),
        "ours against transformers": same_distribution(mine, other),
        "draws at temperature 0.8 against the model": goodness_of_fit(drawn(temperature=0.8), chances),
    }
    print(f"{name}: {draws} draws of {DEPTH} tokens")
    for label, fit in fits.items():
        print(f"  {label}: chi-square {fit.statistic:.1f} with {fit.freedom} degrees of freedom, p = {fit.p_value:.3g}")
    return fits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(MODELS), action="append")
    parser.add_argument("--prompts", type=int, default=0, help="0: 16 of the bundled world, 4 for the larger model")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{asked.threads} thread(s), torch {torch.__version__}, {asked.clock} time, medians of {asked.repeats} paired repeats")
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch, no_bars():
        for name in asked.only or MODELS:
            make, count = MODELS[name]
            module, prompts = make(asked.prompts or count, Path(scratch))
            module.generation_config.eos_token_id = None
            rows[name] = speed(name, module, prompts, asked.repeats, CLOCKS[asked.clock])
            if name == "bundled":  # random weights are nearly uniform, so no sequence of theirs comes often enough to count
                rows["fits"] = distribution(name, module, prompts[0][-SHORTER:], asked.draws)
    fits = rows.pop("fits", {})
    if asked.json:
        asked.json.write_text(json.dumps(rows | {"fits": {k: [f.statistic, f.freedom, f.p_value] for k, f in fits.items()}}, indent=2))
    blind = {"draws at temperature 0.8 against the model"}
    return int(any((fit.p_value < LEAST_P) != (label in blind) for label, fit in fits.items()))


if __name__ == "__main__":
    raise SystemExit(main())
