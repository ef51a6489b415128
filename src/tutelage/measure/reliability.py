"""Whether scores measure anything: would the same items get the same scores from other probes?

A preference score is a mean over probes. Its split-half reliability is the correlation, over items, of the mean over one half of the
probes with the mean over the other. Scores can agree over all items only because one task is easier than another, so the question that
matters for choosing between items of one task is the reliability *within* groups.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from tutelage.errors import SettingsError

NOISE_BELOW = 0.75
"""Full-length reliability within a skill below which aligning is refused. Measured once in a small world: a half-length correlation of 0.59
(full length 0.74) gave no gain from alignment, 0.97 (0.98) did; nothing in between was measured."""
RELIABLE_FROM = 0.9
"""From here on scores are called reliable; between the two numbers the verdict is `unsure` and the run goes on with a warning."""
MIN_ITEMS = 8
"""Fewer items say nothing about a correlation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitHalf:
    """Reliability of mean scores."""

    raw: float | None
    """Correlation of half-length scores, mean over random splits; None where it cannot be said (no spread, too few items or probes)."""
    corrected: float | None
    """Spearman-Brown: what is expected at the full number of probes."""
    items: int
    """Items that entered: those in groups of one carry nothing and are left out."""
    groups: int
    probes: int
    """Fewest measurements behind one item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceShare:
    """How much of the differences between items a grouping accounts for."""

    share: float | None
    """Between-group sum of squares over the total (eta squared); None where all values are equal."""
    adjusted: float | None
    """Corrected for the number of groups, near 0 for a random grouping (epsilon squared); None where every item is its own group."""
    groups: int
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """All that a reader needs to judge preference scores."""

    overall: SplitHalf
    within_skill: SplitHalf
    within_skill_and_style: SplitHalf
    """What is left for the individual item once skill and style are known."""
    by_skill: VarianceShare
    by_style: VarianceShare
    by_skill_and_style: VarianceShare
    verdict: Literal["reliable", "unsure", "noise", "unknown"]
    reason: str
    """One or two sentences for people."""


def split_half(
    parts: Sequence[Sequence[float]], *, rng: random.Random, groups: Sequence[Hashable] | None = None, splits: int = 100
) -> SplitHalf:
    """Split-half reliability over items [items][probes], within `groups` where given.

    Every split cuts the probes into two random halves (one probe left out where their number is odd), the same halves for all items with
    equally many probes, since items of one skill meet the same probes. Within groups, half scores are taken as distances from their
    group's mean and pooled. The correction is Spearman-Brown's r k / (1 + (k - 1) r) with k = probes per half length; a correlation at or
    below 0 is left as it is, since the formula means nothing there.
    """
    if groups is not None and len(groups) != len(parts):
        raise SettingsError("split-half reliability needs one group per item", got=f"{len(groups)} groups, {len(parts)} items")
    if splits < 1:
        raise SettingsError("split-half reliability needs at least one split", got=splits)
    import numpy as np

    labels: list[Hashable] = list(groups) if groups is not None else [None] * len(parts)
    sizes: dict[Hashable, int] = {}
    usable = [i for i, row in enumerate(parts) if len(row) >= 2]
    for i in usable:
        sizes[labels[i]] = sizes.get(labels[i], 0) + 1
    usable = [i for i in usable if sizes[labels[i]] >= 2]
    kept_groups = list(dict.fromkeys(labels[i] for i in usable))
    probes = min((len(parts[i]) for i in usable), default=0)
    if len(usable) < 2:
        return SplitHalf(raw=None, corrected=None, items=len(usable), groups=len(kept_groups), probes=probes)

    by_length: dict[int, list[int]] = {}
    for place, i in enumerate(usable):
        by_length.setdefault(len(parts[i]), []).append(place)
    tables = {length: np.array([parts[usable[p]] for p in places], dtype=np.float64) for length, places in by_length.items()}
    number = {label: g for g, label in enumerate(kept_groups)}
    member = np.array([number[labels[i]] for i in usable])
    count = np.bincount(member)

    def centred(values: np.ndarray) -> np.ndarray:
        out = values - (np.bincount(member, weights=values) / count)[member]
        out[np.abs(out) < 1e-12] = 0.0  # rounding must not pass for spread
        return out

    found: list[float] = []
    for _ in range(splits):
        halves = np.empty((2, len(usable)))
        for length, table in tables.items():
            order = rng.sample(range(length), length)
            half = length // 2
            for side, chosen in enumerate((order[:half], order[half : 2 * half])):
                halves[side, by_length[length]] = table[:, chosen].mean(axis=1)
        first, second = centred(halves[0]), centred(halves[1])
        spread = math.sqrt(float(first @ first)) * math.sqrt(float(second @ second))
        if spread > 0:
            found.append(float(first @ second) / spread)
    # A split in which a half has no spread at all says nothing; if most say nothing, so do we.
    if len(found) * 2 < splits:
        return SplitHalf(raw=None, corrected=None, items=len(usable), groups=len(kept_groups), probes=probes)
    raw = max(-1.0, min(1.0, math.fsum(found) / len(found)))
    longer = probes / (probes // 2)
    corrected = raw * longer / (1 + (longer - 1) * raw) if raw > 0 else raw
    return SplitHalf(raw=raw, corrected=corrected, items=len(usable), groups=len(kept_groups), probes=probes)


def variance_share(values: Sequence[float], groups: Sequence[Hashable]) -> VarianceShare:
    """Share of the variance of `values` that lies between `groups`."""
    if len(values) != len(groups):
        raise SettingsError("a share of variance needs one group per value", got=f"{len(groups)} groups, {len(values)} values")
    members: dict[Hashable, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        members.setdefault(group, []).append(value)
    n, k = len(values), len(members)
    if n < 2 or min(values) == max(values):
        return VarianceShare(share=None, adjusted=None, groups=k, items=n)
    mean = math.fsum(values) / n
    total = math.fsum((v - mean) ** 2 for v in values)
    between = math.fsum(len(m) * (math.fsum(m) / len(m) - mean) ** 2 for m in members.values())
    share = min(1.0, between / total)
    adjusted = 1 - (1 - share) * (n - 1) / (n - k) if n > k else None
    return VarianceShare(share=share, adjusted=adjusted, groups=k, items=n)


def preference_reliability(
    parts: Sequence[Sequence[float]],
    *,
    skills: Sequence[Hashable],
    styles: Sequence[Hashable],
    rng: random.Random,
    splits: int = 100,
    noise_below: float = NOISE_BELOW,
    reliable_from: float = RELIABLE_FROM,
) -> Reliability:
    """Reliability of preference scores over items [items][probes], with a verdict.

    The rule: by the full-length (corrected) reliability within a skill, `noise` below `noise_below`, `reliable` from `reliable_from`,
    `unsure` between; `unknown` with fewer than 8 usable items. Scores without any spread within a skill are `noise`: nothing can be
    chosen by them.
    """
    if not 0 <= noise_below <= reliable_from <= 1:
        raise SettingsError("reliability bounds must obey 0 <= noise_below <= reliable_from <= 1", got=f"{noise_below}, {reliable_from}")
    scores = [math.fsum(row) / len(row) if row else None for row in parts]
    scored = [i for i, s in enumerate(scores) if s is not None]
    values = [s for s in scores if s is not None]
    both = list(zip(skills, styles, strict=True))
    overall = split_half(parts, rng=rng, splits=splits)
    within = split_half(parts, rng=rng, groups=skills, splits=splits)
    finest = split_half(parts, rng=rng, groups=both, splits=splits)
    verdict, reason = _verdict(within, noise_below, reliable_from)
    return Reliability(
        overall=overall,
        within_skill=within,
        within_skill_and_style=finest,
        by_skill=variance_share(values, [skills[i] for i in scored]),
        by_style=variance_share(values, [styles[i] for i in scored]),
        by_skill_and_style=variance_share(values, [both[i] for i in scored]),
        verdict=verdict,
        reason=reason,
    )


def _verdict(within: SplitHalf, noise_below: float, reliable_from: float) -> tuple[Literal["reliable", "unsure", "noise", "unknown"], str]:
    if within.items < MIN_ITEMS:
        return "unknown", f"Only {within.items} scored items share a skill with another; at least {MIN_ITEMS} are needed to say anything."
    if within.corrected is None:
        return "noise", "Within a skill all items score alike, so nothing can be chosen by the score."
    said = (
        f"Within a skill the score of an item agrees with itself, measured on other probes, at {within.corrected:.2f} "
        f"(half as many probes: {within.raw:.2f})"
    )
    if within.corrected < noise_below:
        return "noise", f"{said}, below {noise_below:.2f}: choosing by it would mostly choose by chance."
    if within.corrected < reliable_from:
        return "unsure", f"{said}, between {noise_below:.2f} and {reliable_from:.2f}: some of the choices will be chance."
    return "reliable", f"{said}, at or above {reliable_from:.2f}."
