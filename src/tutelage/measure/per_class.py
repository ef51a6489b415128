"""How a classifier does on each class. What is undefined is None, never 0: a class that nobody has or predicts has no precision."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One class of a report."""

    label: str
    support: int
    """Rows whose right class this is."""
    predicted: int
    """Rows that were given this class."""
    right: int

    @property
    def precision(self) -> float | None:
        return self.right / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        return self.right / self.support if self.support else None

    @property
    def f1(self) -> float | None:
        return 2 * self.right / (self.support + self.predicted) if self.support + self.predicted else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReport:
    """All classes in the order of the labels, and their averages."""

    classes: tuple[ClassScore, ...]
    accuracy: float | None
    """None where there are no rows."""

    @property
    def macro_f1(self) -> float | None:
        """Mean over the classes that somebody has or predicts."""
        found = [c.f1 for c in self.classes if c.f1 is not None]
        return math.fsum(found) / len(found) if found else None

    @property
    def weighted_f1(self) -> float | None:
        """Mean over rows of the F1 of their right class."""
        rows = sum(c.support for c in self.classes)
        return math.fsum((c.f1 or 0.0) * c.support for c in self.classes) / rows if rows else None


def per_class(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> ClassReport:
    """Support, predictions and hits of every label, those without rows included. A class outside of `labels` is refused."""
    if len(gold) != len(predicted):
        raise SettingsError("a report by class needs one prediction per row", got=f"{len(gold)} gold, {len(predicted)} predicted")
    unknown = next((name for name in {*gold, *predicted} - set(labels)), None)
    if unknown is not None:
        raise SettingsError("a report by class met a class that is not among the labels", got=unknown)
    have, given = Counter(gold), Counter(predicted)
    right = Counter(truth for truth, guess in zip(gold, predicted, strict=True) if truth == guess)
    return ClassReport(
        classes=tuple(ClassScore(label=name, support=have[name], predicted=given[name], right=right[name]) for name in labels),
        accuracy=right.total() / len(gold) if gold else None,
    )
