"""What a number of teacher answers is given to: the seed questions, rephrased or new ones, by answers per seed question.

Chan et al. 2024 (Balancing, arXiv 2409.19759): no strategy wins everywhere. At few answers per seed new answers to the seed questions pay
most, at many new questions; with a weak writer of questions, rephrased ones. The calls that write questions are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from tutelage.errors import SettingsError

PUBLISHED = ((100, 39.0), (1000, 17.6), (7473, 16.4))
"""(seed questions, answers per seed at which creating questions overtakes new answers): the middle of 27 to 51 for 100, 17.6 for 1,000,
16.4 for the whole of a training set, taken as GSM8K's."""


def published_switch(seeds: int) -> float:
    """Answers per seed at which to switch, between the published points on a logarithmic scale of seeds (our interpolation); the nearest
    point's beyond them."""
    if seeds < 1:
        raise SettingsError("a budget ratio needs at least one seed question", got=seeds)
    points = PUBLISHED
    if seeds <= points[0][0]:
        return points[0][1]
    for (low, at_low), (high, at_high) in pairwise(points):
        if seeds <= high:
            share = (math.log(seeds) - math.log(low)) / (math.log(high) - math.log(low))
            return at_low + share * (at_high - at_low)
    return points[-1][1]


def best_strategy(answers_per_seed: float, *, switch: float, strong_writer: bool = True) -> str:
    """`answers`, `new` or `rephrased`."""
    if answers_per_seed < switch:
        return "answers"
    return "new" if strong_writer else "rephrased"


def crossover(ratios: Sequence[float], answers: Sequence[float], created: Sequence[float]) -> float | None:
    """The smallest ratio at which `created` questions do better than new `answers`, interpolated in the logarithm of the ratio.

    The three lists are points of the same curve, ratios rising; where `created` is ahead from the first point on, that point's ratio;
    None where it is never ahead.
    """
    if not len(ratios) == len(answers) == len(created):
        raise SettingsError("curves have different lengths", got=f"{len(ratios)}, {len(answers)}, {len(created)}")
    if any(r <= 0 for r in ratios) or list(ratios) != sorted(set(ratios)):
        raise SettingsError("budget ratios must be positive and rising", got=list(ratios))
    leads = [b - a for a, b in zip(answers, created, strict=True)]
    for i, lead in enumerate(leads):
        if lead > 0:
            if i == 0:
                return float(ratios[0])
            share = -leads[i - 1] / (lead - leads[i - 1])
            return math.exp(math.log(ratios[i - 1]) + share * (math.log(ratios[i]) - math.log(ratios[i - 1])))
    return None
