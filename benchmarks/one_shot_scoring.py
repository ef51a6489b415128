"""One-shot scoring: every demonstration in front of every probe, ours against `transformers` in the same invocation.

    python benchmarks/one_shot_scoring.py                       # everything, runs in pairs
    python benchmarks/one_shot_scoring.py --demos 8 --probes 4 --repeats 1 --only short

Workloads
    short                   demonstrations of about 40 tokens, 64 x 16 pairs, generation until the end of the line
    long                    demonstrations of about 256 tokens, probes of about 40, 16 new tokens, 64 x 40 pairs
    likelihood              log-probability of the solved probe behind the short prompts, against batches in the order of the pairs
    likelihood-sorted       the same against length-sorted batches
    likelihood-long         as `likelihood`, behind the long prompts
    likelihood-long-sorted  the same against length-sorted batches

The other side is what one would write with transformers alone: `generate` on length-sorted batches padded on the left (the end of the
line as a further end-of-text id), and for likelihoods one forward pass per batch padded on the right. Of three batch sizes the fastest
counts. Both sides start from texts and end with texts or numbers, on one thread of the same process. Every repeat times the two sides
next to each other; the figures are medians of the repeats' ratios. `--clock cpu` counts processor time instead of time on the wall, for
a machine that others use too (one thread only).

The limit of token counts is how many tokens the other side must process, padding not counted, over how many distinct ones there are; the
share of it that the measured speed-up reaches is printed. It can exceed 100 %: padding, and results that nobody reads, cost the other side
time too. Judgements must be the same; items whose two likeliest next tokens lie closer than 1e-4 where the sides part are listed and
allowed. Exit 1 where a judgement differs otherwise or a likelihood differs by more than 1e-4 per token.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tutelage import backends
from tutelage.capabilities import Sampling
from tutelage.engine.tree import plan_tree
from tutelage.prompts.dialects import FOLDS
from tutelage.records import Prompt
from tutelage.tasks.folds_world import ARROW, TARGETS, draw_question, write_steps

BATCH_SIZES = (64, 256, 1024)
GAP = 1e-4
STOP = "\n"
TARGET = {
    "short": 1.5, "long": 3.0, "likelihood": 3.0, "likelihood-sorted": None, "likelihood-long": 3.0, "likelihood-long-sorted": None,
}  # fmt: skip
SHARE = 0.6
"""Of the limit by token counts that scoring should reach."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True, kw_only=True)
class Workload:
    name: str
    prompts: list[Prompt]
    solutions: list[str]
    """The probe's right solution, for likelihoods."""
    max_tokens: int


def one_shot(
    name: str, rng: random.Random, rendering: Any, *, demos: int, probes: int, demo_tokens: int, probe_tokens: int, max_tokens: int
) -> Workload:
    """`demo_tokens` and `probe_tokens` are reached by putting solved questions in front; 0 leaves one question as it is."""

    def solved(tokens: int, skill: str) -> str:
        parts: list[str] = []
        while True:
            question = draw_question(rng, skill)
            part = FOLDS.demonstration.format(question=question.text, rationale=write_steps(question, rng))
            if parts and len(rendering.completion_ids("\n\n".join([*parts, part]))) > tokens:
                return "\n\n".join(parts)
            parts.append(part)

    skills = [TARGETS[i % len(TARGETS)] for i in range(demos)]
    fronts = [solved(demo_tokens, skill) for skill in skills]
    asked = []
    for i in range(probes):
        skill = TARGETS[i % len(TARGETS)]
        question = draw_question(rng, skill)
        text = FOLDS.plain.format(question=question.text)
        room = probe_tokens - len(rendering.completion_ids(text))
        if probe_tokens and room > 12:
            lead = FOLDS.item.format(question=draw_question(rng, skill, 3).text)
            text = f"{lead}\n\n{text}"
        asked.append((text, " " + write_steps(question, rng)))
    pairs = [(Prompt.user(f"{front}\n\n{text}"), solution) for front in fronts for text, solution in asked]
    return Workload(name=name, prompts=[p for p, _ in pairs], solutions=[s for _, s in pairs], max_tokens=max_tokens)


# The other side


class Plain:
    """transformers by itself."""

    def __init__(self, module: Any, rendering: Any) -> None:
        self.module = module
        self.rendering = rendering
        (newline,) = rendering.completion_ids(STOP, end=False)
        self.ends = sorted({*rendering.stop_ids, newline})

    def generate(self, prompts: Sequence[Prompt], max_tokens: int, size: int) -> list[str]:
        ids = [self.rendering.prompt_ids(p) for p in prompts]
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        texts = [""] * len(ids)
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            width = max(len(ids[i]) for i in batch)
            table = torch.tensor([[0] * (width - len(ids[i])) + ids[i] for i in batch])
            mask = torch.tensor([[0] * (width - len(ids[i])) + [1] * len(ids[i]) for i in batch])
            ends = {"eos_token_id": self.ends, "pad_token_id": self.ends[0]}
            out = self.module.generate(input_ids=table, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False, **ends)
            for i, row in zip(batch, out[:, width:].tolist(), strict=True):
                text = self.rendering.text(row)
                texts[i] = text.split(STOP, 1)[0]
        return texts

    @torch.no_grad()
    def score(self, prompts: Sequence[Prompt], completions: Sequence[str], size: int, *, by_length: bool) -> list[list[float]]:
        rows = [(self.rendering.prompt_ids(p), self.rendering.completion_ids(c)) for p, c in zip(prompts, completions, strict=True)]
        order = sorted(range(len(rows)), key=lambda i: -sum(map(len, rows[i]))) if by_length else list(range(len(rows)))
        scores: list[list[float]] = [[] for _ in rows]
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            width = max(sum(map(len, rows[i])) for i in batch)
            table = torch.tensor([[*rows[i][0], *rows[i][1]] + [0] * (width - sum(map(len, rows[i]))) for i in batch])
            mask = torch.tensor([[1] * sum(map(len, rows[i])) + [0] * (width - sum(map(len, rows[i]))) for i in batch])
            logits = self.module(input_ids=table, attention_mask=mask, use_cache=False).logits[:, :-1]
            gains = logits.log_softmax(-1).gather(-1, table[:, 1:, None]).squeeze(-1)
            for i, row in zip(batch, gains.tolist(), strict=True):
                prompt, completion = rows[i]
                scores[i] = row[len(prompt) - 1 : len(prompt) + len(completion) - 1]
        return scores

    @torch.no_grad()
    def gap_at_parting(self, prompt: Prompt, ours: str, theirs: str) -> float:
        """Difference of the two largest logits at the first token where the two texts part."""
        a, b = (self.rendering.completion_ids(t) for t in (ours, theirs))
        place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        logits = self.module(torch.tensor([[*self.rendering.prompt_ids(prompt), *a[:place]]])).logits[0, -1]
        first, second = logits.topk(2).values.tolist()
        return first - second


# Measuring


def seconds(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def in_pairs(ours: Callable[[], Any], others: dict[int, Callable[[], Any]], repeats: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Both sides once to warm up, then in turns. Every repeat compares with the batch size that is fastest on the whole."""
    ours_result = ours()
    results = {size: call() for size, call in others.items()}
    mine: list[float] = []
    theirs: dict[int, list[float]] = {size: [] for size in others}
    for repeat in range(repeats):
        order: list[int] = [0, *others]
        for size in order if repeat % 2 == 0 else reversed(order):
            (theirs[size] if size else mine).append(seconds(others[size] if size else ours, clock))
    best = min(theirs, key=lambda size: statistics.median(theirs[size]))
    ratios = sorted(t / o for t, o in zip(theirs[best], mine, strict=True))
    return {
        "ours_s": statistics.median(mine),
        "others_s": {size: statistics.median(t) for size, t in theirs.items()},
        "best_batch": best,
        "speedup": statistics.median(ratios),
        "speedup_range": (ratios[0], ratios[-1]),
        "ours": ours_result,
        "others": results[best],
    }


def judged(text: str) -> str:
    """The answer of the bundled world: what follows the last arrow."""
    return text.rpartition(ARROW)[2].strip() if ARROW in text else ""


def measure_generation(work: Workload, backend: Any, plain: Plain, sizes: Sequence[int], repeats: int, clock: Any) -> dict[str, Any]:
    sampling = Sampling(max_tokens=work.max_tokens, stop=(STOP,))
    row = in_pairs(
        lambda: [answers[0] for answers in backend.generate(work.prompts, sampling)],
        {size: lambda size=size: plain.generate(work.prompts, work.max_tokens, size) for size in sizes},
        repeats,
        clock,
    )
    ours, theirs = row.pop("ours"), row.pop("others")
    ids = [tuple(plain.rendering.prompt_ids(p)) for p in work.prompts]
    new = sum(c.completion_tokens for c in ours)
    row["tokens"] = sum(map(len, ids)) + new
    row["distinct_tokens"] = plan_tree(ids).tokens(ids) + new
    row["differing"] = [
        {"item": i, "gap": plain.gap_at_parting(work.prompts[i], a.text, b), "ours": a.text, "other": b}
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True))
        if judged(a.text) != judged(b)
    ]
    row["same_texts"] = sum(a.text == b for a, b in zip(ours, theirs, strict=True)) / len(ours)
    row["agrees"] = all(d["gap"] < GAP for d in row["differing"])
    return row


def measure_likelihood(
    work: Workload, backend: Any, plain: Plain, sizes: Sequence[int], repeats: int, clock: Any, *, by_length: bool = False
) -> dict[str, Any]:
    row = in_pairs(
        lambda: backend.score(work.prompts, work.solutions),
        {size: lambda size=size: plain.score(work.prompts, work.solutions, size, by_length=by_length) for size in sizes},
        repeats,
        clock,
    )
    ours, theirs = row.pop("ours"), row.pop("others")
    prompts = [tuple(plain.rendering.prompt_ids(p)) for p in work.prompts]
    ends = [tuple(plain.rendering.completion_ids(s)) for s in work.solutions]
    whole = [p + e for p, e in zip(prompts, ends, strict=True)]
    row["tokens"] = sum(map(len, whole))
    row["distinct_tokens"] = plan_tree(whole, open_ends=[len(e) + 1 for e in ends]).tokens(whole)
    row["largest_difference"] = max(abs(a - b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x.logprobs, y, strict=True))
    row["agrees"] = row["largest_difference"] < GAP
    return row


def report(name: str, row: dict[str, Any], items: int) -> None:
    limit = row["tokens"] / row["distinct_tokens"]
    row |= {"items": items, "limit": limit, "share_of_limit": row["speedup"] / limit}
    low, high = row["speedup_range"]
    others = ", ".join(f"batch {size}: {items / s:.0f}" for size, s in row["others_s"].items())
    print(f"{name}: {items} pairs, {row['tokens']} tokens of which {row['distinct_tokens']} distinct")
    print(f"  items/s   ours {items / row['ours_s']:.0f}; transformers {others}")
    wish = "" if TARGET[name] is None else f", asked for {TARGET[name]}"
    print(f"  speed-up  {row['speedup']:.2f} ({low:.2f} to {high:.2f}) against batch {row['best_batch']}{wish}")
    print(f"  limit     {limit:.2f} by token counts; reached {100 * row['share_of_limit']:.0f} % of it, asked for {100 * SHARE:.0f} %")
    if "differing" in row:
        print(f"  judgements: {items - len(row['differing'])} of {items} the same; {100 * row['same_texts']:.1f} % of the texts")
        for d in row["differing"]:
            print(f"    item {d['item']}: gap {d['gap']:.1e}, ours {d['ours']!r}, other {d['other']!r}")
    else:
        print(f"  largest difference of a log-probability: {row['largest_difference']:.1e}")


def wider(folder: Path, target: Path, context: int) -> Path:
    """The same weights with a longer context: positions are rotary, so only the bound changes."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("checkpoints"))
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "max_position_embeddings": context}))
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:student", help="a model of the bundled world's dialect")
    parser.add_argument("--demos", type=int, default=64)
    parser.add_argument("--probes", type=int, default=0, help="0: 16 short, 40 long")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCH_SIZES))
    parser.add_argument("--only", choices=sorted(TARGET), action="append")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as scratch:
        ref = backends.resolve(asked.model)
        folder = wider(Path(str(ref.path)), Path(scratch) / "model", 512)
        backend = backends.open_backend(backends.resolve(f"hf:{folder}"), device="cpu")
        other = backends.open_backend(backends.resolve(f"hf:{folder}"), device="cpu").model
        other.module.generation_config.pad_token_id = None
        plain = Plain(other.module, other.rendering)
        shape = {"rng": random.Random(0), "rendering": other.rendering, "demos": asked.demos}
        short = one_shot("short", probes=asked.probes or 16, demo_tokens=40, probe_tokens=0, max_tokens=32, **shape)
        long = one_shot("long", probes=asked.probes or 40, demo_tokens=256, probe_tokens=40, max_tokens=16, **shape)
        how = f"{asked.threads} thread(s), torch {torch.__version__}, {asked.clock} time, medians of {asked.repeats} paired repeats"
        print(f"{asked.model}, {how}")
        measures = {
            "short": (short, measure_generation),
            "long": (long, measure_generation),
            "likelihood": (short, measure_likelihood),
            "likelihood-sorted": (short, partial(measure_likelihood, by_length=True)),
            "likelihood-long": (long, measure_likelihood),
            "likelihood-long-sorted": (long, partial(measure_likelihood, by_length=True)),
        }
        rows: dict[str, Any] = {}
        for name in asked.only or measures:
            work, measure = measures[name]
            rows[name] = measure(work, backend, plain, asked.batches, asked.repeats, CLOCKS[asked.clock])
            report(name, rows[name], len(work.prompts))
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2))
    return 0 if all(row["agrees"] for row in rows.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
