"""Linear and rank correlation that say None, not NaN, where a correlation does not exist."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tutelage.errors import SettingsError


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Linear correlation; None for fewer than two values or when a side is constant."""
    _check(x, y)
    if len(x) < 2 or min(x) == max(x) or min(y) == max(y):
        return None
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    dx, dy = [a - mean_x for a in x], [b - mean_y for b in y]
    spread = math.sqrt(math.fsum(a * a for a in dx)) * math.sqrt(math.fsum(b * b for b in dy))
    if spread == 0.0:  # values that differ by less than a float can square
        return None
    return max(-1.0, min(1.0, math.fsum(a * b for a, b in zip(dx, dy, strict=True)) / spread))


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Correlation of ranks, tied values sharing their mean rank; None where `pearson` has none."""
    _check(x, y)
    return pearson(_ranks(x), _ranks(y))


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, tied values sharing their mean rank."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or values[order[end]] != values[order[start]]:
            for i in order[start:end]:
                ranks[i] = (start + 1 + end) / 2
            start = end
    return ranks


def kendall(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Kendall's tau-b, corrected for ties; None for fewer than two values or when a side is constant."""
    _check(x, y)
    if len(x) < 2 or min(x) == max(x) or min(y) == max(y):
        return None
    from scipy.stats import kendalltau

    return float(kendalltau(x, y).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def _check(x: Sequence[float], y: Sequence[float]) -> None:
    if len(x) != len(y):
        raise SettingsError("a correlation needs pairs of values", got=f"{len(x)} and {len(y)} values")
    if not all(math.isfinite(v) for v in (*x, *y)):
        raise SettingsError("a correlation needs finite values", got="NaN or infinity", fix="leave unscored items out of both lists")
