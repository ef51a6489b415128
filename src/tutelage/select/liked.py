"""The best-liked among solutions that were scored by a student. Solutions without a score are never chosen."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.records import Feedback, Solution


def top_liked(liked: Sequence[tuple[Solution, Feedback]], skill: str, count: int) -> list[tuple[str, str]]:
    """The `count` best-liked solutions of a skill as (question, rationale), of different questions, best first."""
    ranked = sorted((x for x in liked if x[0].problem.skill == skill and x[1].value is not None), key=lambda x: -(x[1].value or 0.0))
    chosen: dict[str, tuple[str, str]] = {}
    for solution, _ in ranked:
        chosen.setdefault(solution.problem.id, (solution.problem.text, solution.text))
    return list(chosen.values())[:count]


def worthiest_of_each(liked: Sequence[tuple[Solution, Feedback]], worth: Sequence[float | None], *, wanted: int) -> list[Solution]:
    """Per question its solution of greatest worth, the first of equals; repeated in turn where a skill has fewer questions than `wanted`,
    so that a student takes as many training steps as on more questions. A worth of None is never chosen."""
    best: dict[str, tuple[Solution, float]] = {}
    for (solution, _), value in zip(liked, worth, strict=True):
        if value is not None and (solution.problem.id not in best or value > best[solution.problem.id][1]):
            best[solution.problem.id] = (solution, value)
    grouped: dict[str, list[Solution]] = {}
    for solution, _ in best.values():
        grouped.setdefault(solution.problem.skill, []).append(solution)
    return [mine[i % len(mine)] for mine in grouped.values() for i in range(wanted)]
