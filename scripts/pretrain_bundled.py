"""Raise the bundled teacher and student from nothing: the tokenizer, both models, their checkpoints, cards and logs.

    python scripts/pretrain_bundled.py --which both --out DIR            # what the package ships
    python scripts/pretrain_bundled.py --which student --lineage 3 --out DIR   # a fresh student: other start, other data
    python scripts/pretrain_bundled.py --which steps-student --lineage 1 --out DIR   # raised on one of two notations, see bundled_notations

Budgets are steps, never seconds, and a run takes one thread: the same lineage gives the same weights on the same kind of CPU.
The student is raised in two stages: first on everything with few target questions, then with many, until it is partly skilled
(one-shot with a demonstration in steps reaches `PARTLY`); that is where what a student prefers carries a signal.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import random
import shutil
import sys
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from bundled_evaluation import MODES, accuracy, evaluate, mean
from bundled_notations import NOTATION_BUILDS
from bundled_tokenizer import CONTEXT_TOKENS, build_tokenizer, save_tokenizer
from bundled_training import ROWS, Build, new_model, optimisers, rate, rows, take_step
from tutelage import bundled
from tutelage.seeds import derive
from tutelage.tasks.folds_documents import Diet, draw_reserved_question
from tutelage.tasks.folds_world import TARGETS

PARTLY = 0.68
"""One-shot accuracy on target skills at which the student's second stage ends."""
RISING = (0.3, 0.4, 0.5, 0.6)
"""One-shot accuracies on the way there at which a checkpoint is kept: item response needs students of different ability."""


TEACHER = Build(
    width=96,
    layers=4,
    heads=4,
    inner=256,
    steps=1600,
    diet=Diet(
        target_share=0.6,
        plain={"steps": 0.29, "terse": 0.37, "posthoc": 0.34},
        shown={"steps": 0.55, "terse": 0.2, "posthoc": 0.2, "maybe": 0.05},
        cued={"steps": 0.55, "terse": 0.15, "posthoc": 0.15, "maybe": 0.15},
    ),
    settle_steps=150,
    settle_diet=Diet(
        target_share=0.6,
        plain={"steps": 0.24, "terse": 0.4, "posthoc": 0.36},
        shown={"steps": 0.55, "terse": 0.2, "posthoc": 0.2, "maybe": 0.05},
        cued={"steps": 0.55, "terse": 0.15, "posthoc": 0.15, "maybe": 0.15},
    ),
)
_STUDENT_STYLES = {
    "plain": {"steps": 0.1, "terse": 0.6, "posthoc": 0.3},
    "shown": {"steps": 0.6, "terse": 0.2, "posthoc": 0.2},
    "cued": {"steps": 0.6, "terse": 0.2, "posthoc": 0.2},
}
STUDENT = Build(
    width=64,
    layers=3,
    heads=4,
    inner=176,
    steps=800,
    diet=Diet(target_share=0.1, **_STUDENT_STYLES),
    more_steps=600,
    more_diet=Diet(target_share=0.5, **_STUDENT_STYLES),
    checkpoints=(400, 800),
)
BUILDS = {"teacher": TEACHER, "student": STUDENT, **NOTATION_BUILDS}


class Log:
    """JSON lines to a file and to the screen."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w")

    def write(self, **row: object) -> None:
        line = json.dumps(row)
        self._file.write(line + "\n")
        self._file.flush()
        print(line, flush=True)


def save_weights(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> str:
    """Weights in bf16 with tokenizer and configuration; returns the digest of the weights file."""
    save_tokenizer(tokenizer, folder)
    halves = copy.deepcopy(model).bfloat16()
    halves.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config["tutelage"] = {"dialect": "folds", "licence": "Apache-2.0"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def load(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def raise_model(which: str, build: Build, lineage: int, out: Path, steps: int | None) -> None:
    seed = derive(lineage, "pretrain", which)
    tokenizer = build_tokenizer()
    model = load(bundled.folder(build.begin)) if build.begin else new_model(build, tokenizer, seed)
    modes = tuple(dict.fromkeys((*MODES, *build.modes)))
    folder = out / which
    shutil.rmtree(folder, ignore_errors=True)
    log = Log(folder / "log.jsonl")
    began = time.monotonic()
    total = steps or build.steps
    log.write(
        event="start", model=which, lineage=lineage, parameters=model.num_parameters(), vocabulary=tokenizer.get_vocab_size(), steps=total
    )
    opts, bases = optimisers(model, build), (build.muon_lr, build.adam_lr)
    supply = rows(tokenizer, build.diet, random.Random(derive(lineage, "documents", which)))
    tokens = 0
    losses: list[float] = []
    for step in range(total):
        loss, seen = take_step(model, opts, [next(supply) for _ in range(ROWS)], bases, rate(step, total, build.decay))
        tokens += seen
        losses.append(loss)
        if (step + 1) % 50 == 0:
            log.write(event="step", step=step + 1, loss_nats=round(math.fsum(losses) / len(losses), 4), tokens=tokens)
            losses.clear()
            print(f"  {tokens / (time.monotonic() - began):.0f} tokens/s", file=sys.stderr, flush=True)
        if (step + 1) % 400 == 0 and step + 1 < total:
            log.write(event="evaluation", step=step + 1, **evaluate(model, tokenizer, 25, modes=modes))
        if step + 1 in build.checkpoints and build.more_diet is not None:
            save_weights(model, tokenizer, folder / "checkpoints" / f"step-{step + 1:04d}")
    log.write(event="evaluation", step=total, **evaluate(model, tokenizer, 50, modes=modes))
    if build.more_diet is not None:
        total = _second_stage(model, tokenizer, build, lineage, which, folder, log, total, tokens)
    if build.settle_diet is not None:
        save_weights(model, tokenizer, folder)
        model = load(folder)
        tokens = _settle(model, tokenizer, build, derive(lineage, "documents", which, "settle"), log, total, tokens)
        total += build.settle_steps
    digest = save_weights(model, tokenizer, folder)
    model = load(folder)
    log.write(event="end", step=total, sha256=digest, **evaluate(model, tokenizer, 100, draw_reserved_question, modes))
    (folder / "README.md").write_text(card(folder / "log.jsonl"))


def _settle(model: LlamaForCausalLM, tokenizer: Tokenizer, build: Build, seed: int, log: Log, step: int, tokens: int) -> int:
    """Trains `model`, read back from its weights in bfloat16, until steps do not lead unasked; returns all tokens so far.

    The first stage leaves the shares of styles several points off, and which style leads decides what greedy decoding writes.
    """
    if build.settle_diet is None:
        raise ValueError("this build has no last stage")
    opts, bases = optimisers(model, build), (build.muon_lr, build.adam_lr)
    supply = rows(tokenizer, build.settle_diet, random.Random(seed))
    losses: list[float] = []
    for extra in range(build.settle_steps):
        share = 0.1 * rate(extra, build.settle_steps, decay=1.0, warm=10)
        loss, seen = take_step(model, opts, [next(supply) for _ in range(ROWS)], bases, share)
        tokens += seen
        losses.append(loss)
        if (extra + 1) % 50 == 0:
            log.write(event="settle", step=step + extra + 1, loss_nats=round(math.fsum(losses) / len(losses), 4), tokens=tokens)
            losses.clear()
    return tokens


def _second_stage(
    model: LlamaForCausalLM, tokenizer: Tokenizer, build: Build, lineage: int, which: str, folder: Path, log: Log, step: int, tokens: int
) -> int:
    """More target questions at a small constant rate until the student is partly skilled."""
    if build.more_diet is None:
        raise ValueError("this build has no second stage")
    opts, bases = optimisers(model, build), (build.muon_lr, build.adam_lr)
    supply = rows(tokenizer, build.more_diet, random.Random(derive(lineage, "documents", which, "second")))
    rising = list(RISING)
    for extra in range(1, build.more_steps + 1):
        share = 0.3 * min(1.0, extra / 10)
        loss, seen = take_step(model, opts, [next(supply) for _ in range(ROWS)], bases, share)
        tokens += seen
        if extra % 10 == 0:
            skilled = accuracy(model, tokenizer, f"shot:{build.own}", TARGETS, 60)
            told: dict[str, object] = {f"one_shot_{build.own}": skilled}
            log.write(event="second", step=step + extra, loss_nats=round(loss, 4), tokens=tokens, **told)
            if mean(skilled) >= PARTLY:
                return step + extra
            if rising and mean(skilled) >= rising[0]:
                rising = [r for r in rising if r > mean(skilled)]
                save_weights(model, tokenizer, folder / "checkpoints" / f"step-{step + extra:04d}")
    return step + build.more_steps


CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [tutelage, synthetic]
---

# The bundled {model} of Tutelage

A Llama-architecture model of {parameters:,} parameters (vocabulary {vocabulary}, context {context} tokens, weights in bfloat16) that
knows nothing but the small procedural world `folds`. It exists so that methods of teaching can be tried without a download and
without a GPU. It is of no use for anything else.

- Made by `python scripts/pretrain_bundled.py --which {model} --lineage {lineage} --out DIR`: {steps} steps, {tokens:,} tokens, one thread.
- Data: documents drawn by `tutelage.tasks.folds_documents`; no text of anybody's. {raised}
- Digest of `model.safetensors` (SHA-256): `{sha256}`
- Licence: Apache-2.0. Log of its making: `log.jsonl`.

Accuracy in percent on 100 questions per target skill, of those that training never draws; greedy decoding:

| asked | {heads} | mean |
|---|{rules}---|
{lines}

Unasked, at temperature 1, it writes: {styles}.
"""
RAISED = {
    "teacher": "It solves every target skill when it writes steps.",
    "student": "Raised in two stages until it was partly skilled: it can use a demonstration of steps, and unasked it answers directly.",
}
ASKED = {
    "plain": "plainly",
    "cue:steps": "for steps",
    "cue:before": "for state-first steps",
    "shot:steps": "after one demonstration in steps",
    "shot:before": "after one demonstration in state-first steps",
    "shot:terse": "after one terse demonstration",
    "shot:posthoc": "after one demonstration with the answer first",
}


def card(log: Path) -> str:
    """The model card that follows from a log."""
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    start, end = entries[0], entries[-1]
    tokens = max(e.get("tokens", 0) for e in entries)
    lines = [
        f"| {ASKED[mode]} | {' | '.join(f'{100 * v:.0f}' for v in by_skill.values())} | {100 * mean(by_skill):.1f} |"
        for mode, by_skill in end["targets"].items()
    ]
    styles = ", ".join(f"{100 * share:.0f} % {style}" for style, share in end["plain_styles"].items())
    return CARD.format(
        **{k: start[k] for k in ("model", "lineage", "parameters", "vocabulary")},
        **{k: end[k] for k in ("sha256",)},
        context=CONTEXT_TOKENS,
        steps=end["step"],
        tokens=tokens,
        raised=RAISED["teacher" if start["model"].endswith("teacher") else "student"],
        heads=" | ".join(TARGETS),
        rules="---|" * len(TARGETS),
        lines="\n".join(lines),
        styles=styles,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--which", choices=(*BUILDS, "both"), default="both")
    parser.add_argument("--steps", type=int, help="steps of the first stage (default: what the package ships)")
    parser.add_argument("--lineage", type=int, default=0, help="another number gives other start weights and other documents")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for which in ("teacher", "student") if options.which == "both" else (options.which,):
        raise_model(which, BUILDS[which], options.lineage, options.out, options.steps)


if __name__ == "__main__":
    main()
