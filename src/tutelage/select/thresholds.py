"""Thresholds that follow what passes by: one moving level for all rows and one moving mean per class, and the rows that reach them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tutelage.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingThresholds:
    """A class's threshold is the level of all rows times the class's share of the highest class mean (LLKD Sec. 4, after FreeMatch).

    So a class that runs low has a lower bar and is not starved. A class that was not seen yet has the level itself as its bar, not 0,
    which would let every row of it through.
    """

    decay: float
    """Of the moving means, in [0, 1): 0 forgets everything but the last rows."""
    level: float
    means: tuple[float | None, ...]
    """By class; None where none was seen."""
    by_class: bool = True
    """False gives every class the level."""

    @classmethod
    def begun(cls, classes: int, *, decay: float, level: float, by_class: bool = True) -> MovingThresholds:
        if not 0 <= decay < 1:
            raise SettingsError("moving thresholds need a decay in [0, 1)", got=decay)
        return cls(decay=decay, level=level, means=(None,) * classes, by_class=by_class)

    def after(self, values: Sequence[float], classes: Sequence[int]) -> MovingThresholds:
        """Moved by the values of some rows; the means of classes that are absent stay. No rows change nothing."""
        if not values:
            return self
        groups: dict[int, list[float]] = {}
        for value, place in zip(values, classes, strict=True):
            groups.setdefault(place, []).append(value)
        means = list(self.means)
        for place, mine in groups.items():
            before = means[place]
            means[place] = self._moved(self.level if before is None else before, mine)
        return replace(self, level=self._moved(self.level, values), means=tuple(means))

    def of(self, place: int) -> float:
        mean = self.means[place]
        if not self.by_class or mean is None:
            return self.level
        highest = max(m for m in self.means if m is not None)
        return self.level * mean / highest if highest > 0 else 0.0

    def _moved(self, before: float, values: Sequence[float]) -> float:
        return self.decay * before + (1 - self.decay) * math.fsum(values) / len(values)


def reaching(values: Sequence[float], classes: Sequence[int], thresholds: MovingThresholds) -> list[bool]:
    """Row by row, whether it reaches the threshold of its class."""
    bars = {place: thresholds.of(place) for place in set(classes)}
    return [value >= bars[place] for value, place in zip(values, classes, strict=True)]


def among_top(values: Sequence[float], share: float) -> list[bool]:
    """Row by row, whether it is among this share of the rows by value, rounded up; of equals all are."""
    if not values:
        return []
    bar = sorted(values, reverse=True)[math.ceil(share * len(values)) - 1]
    return [value >= bar for value in values]


def weights_of(*signals: Sequence[float]) -> list[float]:
    """The sum of the signals of each row over the mean of these sums: weights of mean 1. Ones where there is no signal, or all are 0."""
    sums = [math.fsum(row) for row in zip(*signals, strict=True)]
    mean = math.fsum(sums) / len(sums) if sums else 0.0
    return [x / mean if mean > 0 else 1.0 for x in sums]
