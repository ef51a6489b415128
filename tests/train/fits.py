"""Four small fits, one per kind of system, that tests kill, continue and spread over processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tutelage.objectives import cross_entropy, dpo, grpo, reverse_kl
from tutelage.train import FitSettings, Fixed, OnPolicy, Reference, Rollout, Teacher
from tutelage.train.loop import FitResult, Progress, fit
from windows import examples, pairs, ref

STEPS = 6
KINDS = ("sft", "dpo", "on-policy", "grpo")


def digits(rollouts: Sequence[Rollout]) -> list[float]:
    """A reward that can be verified: the share of digits."""
    return [sum(c.isdigit() for c in r.text) / max(1, len(r.text)) for r in rollouts]


def go(
    kind: str,
    student: Path,
    teacher: Path,
    out: Path,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    **changes: object,
) -> FitResult:
    options: dict[str, object] = {
        "lr": 2e-3,
        "batch": 4,
        "steps": STEPS,
        "epochs": 9,
        "schedule": "cosine",
        "checkpoint_every": 2,
        **changes,
    }
    settings = FitSettings(**options)  # pyright: ignore[reportArgumentType]
    prompts = [e.prompt for e in examples()]
    source, objective, targets = {
        "sft": lambda: (Fixed(examples()), cross_entropy(), None),
        "dpo": lambda: (Fixed(pairs()), dpo(nll=0.2), Reference()),
        "on-policy": lambda: (OnPolicy(prompts, max_tokens=8), reverse_kl(), Teacher(ref(teacher))),
        "grpo": lambda: (OnPolicy(prompts, max_tokens=8, samples=3, reward=digits, reuse=2), grpo(kl=0.05), Reference()),
    }[kind]()
    return fit(
        model=student,
        source=source,
        objective=objective,
        targets=targets,
        settings=settings,
        seed=3,
        out=out,
        checkpoint=checkpoint,
        progress=progress,
    )
