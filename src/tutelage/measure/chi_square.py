"""Whether draws could have come from a distribution, or two sets of draws from one."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tutelage.errors import SettingsError

Outcome = TypeVar("Outcome", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Pearson's statistic over cells that are large enough; rare outcomes share one cell."""

    statistic: float
    freedom: int
    """Cells minus one."""
    p_value: float
    """Chance of a statistic at least so large if the draws are what they should be."""


def goodness_of_fit(counts: Mapping[Outcome, int], probabilities: Mapping[Outcome, float], *, least: float = 5.0) -> Fit:
    """Counts of drawn outcomes against their probabilities. Outcomes that are not named share what is left of one with those expected
    fewer than `least` times. A count of an outcome that should never come (probability left: none) gives p 0."""
    n = sum(counts.values())
    named = [(counts.get(outcome, 0), n * p) for outcome, p in probabilities.items() if n * p >= least]
    if len(named) < 2:
        raise SettingsError("too few draws for a chi-square test", got=f"{n} draws, {len(named)} cells", fix="draw more")
    rest = n - sum(seen for seen, _ in named), n - math.fsum(wanted for _, wanted in named)
    return _fit(_with_rest(named, rest, least))


def same_distribution(one: Mapping[Outcome, int], other: Mapping[Outcome, int], *, least: float = 5.0) -> Fit:
    """Two sets of draws against each other (a test of homogeneity). Outcomes that are expected fewer than `least` times in either set
    share one cell."""
    sizes = sum(one.values()), sum(other.values())
    whole = sum(sizes)
    if not min(sizes):
        raise SettingsError("a comparison needs draws on both sides", got=f"{sizes[0]} and {sizes[1]}")
    cells, rest = [], [0, 0]
    for outcome in dict.fromkeys((*one, *other)):
        seen = one.get(outcome, 0), other.get(outcome, 0)
        if min(sizes) * sum(seen) / whole >= least:
            cells.append(seen)
        else:
            rest = [r + s for r, s in zip(rest, seen, strict=True)]
    if sum(rest):
        cells.append((rest[0], rest[1]))
    if len(cells) < 2:
        raise SettingsError("too few draws for a chi-square test", got=f"{whole} draws, {len(cells)} cells", fix="draw more")
    wanted = [(seen, n * sum(cell) / whole) for cell in cells for seen, n in zip(cell, sizes, strict=True)]
    return _judged(math.fsum((seen - expected) ** 2 / expected for seen, expected in wanted), len(cells) - 1)


def _with_rest(cells: list[tuple[int, float]], rest: tuple[int, float], least: float) -> list[tuple[int, float]]:
    """The rest as a cell of its own, or joined to the smallest one where it is too small to stand alone."""
    seen, wanted = rest
    if wanted >= least:
        return [*cells, rest]
    if seen == 0 and wanted < 1e-9:
        return cells
    if wanted < 1e-9:
        return [*cells, (seen, 0.0)]
    place = min(range(len(cells)), key=lambda i: cells[i][1])
    joined = cells[place][0] + seen, cells[place][1] + wanted
    return [joined if i == place else c for i, c in enumerate(cells)]


def _fit(cells: list[tuple[int, float]]) -> Fit:
    if any(wanted == 0 and seen for seen, wanted in cells):
        return Fit(statistic=math.inf, freedom=len(cells) - 1, p_value=0.0)
    return _judged(math.fsum((seen - wanted) ** 2 / wanted for seen, wanted in cells), len(cells) - 1)


def _judged(statistic: float, freedom: int) -> Fit:
    from scipy.stats import chi2

    return Fit(statistic=statistic, freedom=freedom, p_value=float(chi2.sf(statistic, freedom)))
