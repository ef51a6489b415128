"""Choices by marks and rewards: right over wrong solutions of one question, the best of several, the best rated texts."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.records import Origin, Problem, Solution

Marked = tuple[Solution, bool]
"""A solution, and whether it is right."""
Rewarded = tuple[Solution, bool, float | None]
"""The same with its reward; None where it could not be rated."""


def right_over_wrong(marked: Sequence[Marked], *, most: int) -> list[tuple[Solution, Solution]]:
    """(right, wrong) solutions of one question, different texts, each in at most one pair and `most` pairs per question, in the order in
    which they came."""
    groups: dict[str, tuple[list[Solution], list[Solution]]] = {}
    for x, right in marked:
        mine = groups.setdefault(x.problem.id, ([], []))[0 if right else 1]
        if all(x.text != y.text for y in mine):
            mine.append(x)
    return [pair for right, wrong in groups.values() for pair in list(zip(right, wrong, strict=False))[:most]]


def by_question(rewarded: Sequence[Rewarded]) -> list[list[Rewarded]]:
    """The solutions of each question together, in order of first appearance."""
    groups: dict[str, list[Rewarded]] = {}
    for row in rewarded:
        groups.setdefault(row[0].problem.id, []).append(row)
    return list(groups.values())


def best_rewarded(group: Sequence[Rewarded]) -> Rewarded:
    """Best of n: the highest reward; the first of equals, and of all where none could be rated."""
    return max(group, key=lambda row: float("-inf") if row[2] is None else row[2])


def best_rated(texts: Sequence[str], ratings: Sequence[float | None], k: int) -> list[str]:
    """The k different texts with the highest ratings; the first of equals, unrated ones last."""
    order = sorted(range(len(texts)), key=lambda i: (ratings[i] is None, -(ratings[i] or 0.0)))
    return list(dict.fromkeys(texts[i] for i in order))[:k]


def carries_solutions(problems: Sequence[Problem]) -> bool:
    """Whether all of the problems, and there are some, come with marked solutions of their own."""
    return bool(problems) and all("solutions" in p.context for p in problems)


def given_solutions(problems: Sequence[Problem], *, step: str) -> list[Marked]:
    """The marked solutions that the problems carry, problem by problem; their technique names who wrote them."""
    return [
        (Solution(problem=p, text=m["text"], technique=str(m["by"]), origin=Origin(step=step, parents=(p.id,))), bool(m["right"]))
        for p in problems
        for m in p.context["solutions"]
    ]


def in_proportion(problems: Sequence[Problem], shares: Sequence[int]) -> list[list[Problem]]:
    """The problems cut into as many parts as there are shares, in order and as far as possible in their proportion."""
    ends = [len(problems) * sum(shares[: i + 1]) // max(1, sum(shares)) for i in range(len(shares))]
    return [list(problems[start:end]) for start, end in zip((0, *ends), ends, strict=False)]


def dealt(places: Sequence[int]) -> list[tuple[int, bool]]:
    """A control: for every place another one, whose critiques it is given, and whether with right and wrong exchanged. They are for every
    second one, since the verdict that a critique ends with would otherwise still tell right from wrong."""
    turn = max(1, len(places) // 2)
    return [(giver, number % 2 == 1) for number, giver in enumerate([*places[turn:], *places[:turn]])]
