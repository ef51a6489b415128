"""Verdicts on problems become one scorecard."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.records import Origin, Problem, Scorecard, Verdict
from tutelage.tasks.task import Task


def scorecard(
    verdicts: Sequence[Verdict],
    *,
    name: str,
    task: Task,
    problems: Sequence[Problem],
    model_id: str,
    shots: int,
    fingerprint: str,
    seed: int,
    arm: str,
) -> Scorecard:
    """The verdicts on the problems, in their order, as one scorecard. What could not be parsed scores 0."""
    scores = tuple(v.score if v.parsed else 0.0 for v in verdicts)
    skills: dict[str, list[float]] = {}
    for problem, score in zip(problems, scores, strict=True):
        skills.setdefault(problem.skill, []).append(score)
    n = len(problems)
    return Scorecard(
        name=name,
        task=task.name,
        task_version=task.version,
        model=model_id,
        value=sum(scores) / n,
        n=n,
        parsed=sum(v.parsed for v in verdicts) / n,
        shots=shots,
        items=tuple(p.id for p in problems),
        scores=scores,
        by_skill={skill: sum(s) / len(s) for skill, s in sorted(skills.items())},
        fingerprint=fingerprint,
        seed=seed,
        arm=arm,
        origin=Origin(step="evaluate", parents=(model_id,), model=model_id),
    )
