"""Preference pairs by contrast: how far apart the two replies are, from independent samples or from the siblings of a tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

Scored = tuple[str, float]
"""A reply and its reward in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What counts as high and low contrast."""

    high: float = 0.5
    """Least difference of a high-contrast pair, whose better reply must be perfect."""
    low: float = 0.25
    """Largest difference of a low-contrast pair."""

    def fits(self, contrast: str, better: float, worse: float) -> bool:
        if contrast == "high":
            return better >= 1.0 and better - worse >= self.high
        return 0 < better - worse <= self.low


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A pair of replies to one prompt."""

    chosen: Scored
    rejected: Scored
    shared: str = ""
    """The text that both begin with because they were grown from it."""


def pair_of_samples(replies: Sequence[Scored], contrast: str, rule: Rule) -> Chosen | None:
    """Of independent replies: the widest pair that is of high contrast, or the best pair that is of low contrast; the first of equals. None
    where no two fit, for example where all have the same reward."""
    return _widest_or_best([Chosen(chosen=a, rejected=b) for a in replies for b in replies if a[0] != b[0]], contrast, rule)


def pair_of_tree(root: Any, contrast: str, rule: Rule, *, gap: float) -> Chosen | None:
    """Of a tree (`generate.trees.Node`): two answers that were grown from siblings whose values differ by `gap` or more, so that they share
    their parent's text exactly. Children of the root are no such siblings: they share nothing but the prompt, as any two replies do."""
    found: list[Chosen] = []
    for node in (node for node in root.walk() if node.text):
        for one, other in combinations(node.children, 2):
            better, worse = (one, other) if one.value >= other.value else (other, one)
            if better.value - worse.value >= gap:
                found += [Chosen(chosen=a, rejected=b, shared=node.text) for a in better.finished for b in worse.finished if a[0] != b[0]]
    return _widest_or_best(found, contrast, rule)


def _widest_or_best(pairs: Sequence[Chosen], contrast: str, rule: Rule) -> Chosen | None:
    fitting = [p for p in pairs if rule.fits(contrast, p.chosen[1], p.rejected[1])]
    if not fitting:
        return None
    return max(fitting, key=lambda p: p.chosen[1] - p.rejected[1] if contrast == "high" else p.chosen[1])


def by_difficulty(rewards: Sequence[float]) -> list[str]:
    """`easy`, `moderate` or `hard` for each prompt, a third each: by one minus its mean reward under the policy that was not trained yet.
    Equal ones stay in their order."""
    order = sorted(range(len(rewards)), key=lambda i: -rewards[i])
    bins = [""] * len(rewards)
    for rank, place in enumerate(order):
        bins[place] = ("easy", "moderate", "hard")[3 * rank // len(rewards)]
    return bins
