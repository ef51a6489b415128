"""How often answers are right. An average over nothing is None: unscored is not zero."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from tutelage.errors import SettingsError


def accuracy(scores: Sequence[float]) -> float | None:
    """Mean of scores in [0, 1] (booleans count as 0 and 1); None for an empty list."""
    return math.fsum(scores) / len(scores) if scores else None


def macro_f1(gold: Sequence[Hashable], predicted: Sequence[Hashable]) -> float | None:
    """Mean over the classes that occur in `gold` or `predicted` of F1 = 2 TP / (2 TP + FP + FN); None for empty lists.

    A class that is only ever predicted counts with F1 = 0, so inventing classes costs.
    """
    if len(gold) != len(predicted):
        raise SettingsError("macro F1 needs one prediction per gold class", got=f"{len(gold)} gold, {len(predicted)} predicted")
    right: dict[Hashable, int] = {}
    seen: dict[Hashable, int] = {}
    for truth, guess in zip(gold, predicted, strict=True):
        for label in (truth, guess):
            right.setdefault(label, 0)
            seen[label] = seen.get(label, 0) + 1  # TP is counted twice here, FP and FN once: the denominator of F1
        right[truth] += truth == guess
    return math.fsum(2 * right[label] / seen[label] for label in seen) / len(seen) if seen else None


def pass_at_k(n: int, right: int, k: int) -> float:
    """Chance that at least one of `k` samples is right, unbiased from `right` of `n` drawn samples: 1 - C(n-right, k) / C(n, k).

    Chen et al. 2021, eq. 1.
    """
    if not 1 <= k <= n or not 0 <= right <= n:
        raise SettingsError("pass@k needs 1 <= k <= n and 0 <= right <= n", got=f"n={n}, right={right}, k={k}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)
