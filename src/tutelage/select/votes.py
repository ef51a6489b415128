"""Choosing among several answers to one question: votes of equal or unequal weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from tutelage.records import Solution

Same = Callable[[Solution, str], bool]
"""Whether a solution's answer is equal to a given one."""


def same_answers(solutions: Sequence[Solution], same: Same) -> list[list[int]]:
    """Places of the solutions grouped by equal answers, in order of first appearance. A solution without a readable answer is in no group:
    it has no vote."""
    groups: list[tuple[str, list[int]]] = []
    for place, solution in enumerate(solutions):
        if solution.answer is None:
            continue
        for answer, held in groups:
            if solution.answer == answer or same(solution, answer):
                held.append(place)
                break
        else:
            groups.append((solution.answer, [place]))
    return [held for _, held in groups]


def elected(groups: Sequence[Sequence[int]], weights: Sequence[float | None], *, by: Literal["sum", "max", "count"] = "sum") -> list[int]:
    """Places of the solutions that give the elected answer, heaviest first: the answer of greatest total weight (`sum`), the one that the
    single heaviest solution gives (`max`), or the commonest (`count`). Ties go to the commoner answer, then to the earlier one. A
    missing weight counts as none. Empty where nobody has a vote."""

    def standing(group: Sequence[int]) -> tuple[float, int]:
        held = [weights[i] or 0.0 for i in group]
        return (sum(held) if by == "sum" else max(held) if by == "max" else float(len(group)), len(group))

    if not groups:
        return []
    winner = max(groups, key=standing)
    return sorted(winner, key=lambda i: -(weights[i] or 0.0))
