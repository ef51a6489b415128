"""Intervals and corrections: how sure a number is.

The project's rule: differences of arms are paired t intervals over seeds at 95 %; a single score is bootstrapped over its items; many
comparisons are corrected by Holm. Where too few values stand behind an interval its ends are None, and a reader is told so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with the ends of its interval."""

    value: float | None
    """None when there was nothing to estimate from."""
    low: float | None = None
    """None where no interval exists: one value, or none."""
    high: float | None = None
    n: int
    """Values behind it: seeds, or items."""
    level: float
    method: str
    """`t`, `paired t`, `bootstrap`, `paired bootstrap` or `wilson`."""
    p_value: float | None = None
    """Two-sided, against 0; only for paired t."""

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """False too where there is no interval: nothing is shown then."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def t_interval(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Mean with Student's t interval; no ends for fewer than two values."""
    return _student(values, level, "t")


def paired_t(differences: Sequence[float], *, level: float = 0.95) -> Interval:
    """Mean difference with Student's t interval and the p-value against 0. One difference per seed, both arms under the same seed."""
    return _student(differences, level, "paired t")


def _student(values: Sequence[float], level: float, method: str) -> Interval:
    _check(values, level)
    n = len(values)
    if n == 0:
        return Interval(value=None, n=0, level=level, method=method)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(value=mean, n=1, level=level, method=method)
    from scipy.special import stdtr, stdtrit  # the t distribution without the second that importing scipy.stats takes

    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    reach = float(stdtrit(n - 1, 0.5 + level / 2)) * spread
    p_value: float | None = None
    if method == "paired t":
        # Equal differences have no spread: the limit of the test is certainty, unless the difference is 0.
        p_value = (0.0 if mean else 1.0) if spread == 0 else 2 * float(stdtr(n - 1, -abs(mean) / spread))
    return Interval(value=mean, low=mean - reach, high=mean + reach, n=n, level=level, method=method, p_value=p_value)


def bootstrap_mean(items: Sequence[float], *, seed: int = 0, resamples: int = 10_000, level: float = 0.95) -> Interval:
    """Mean of item scores with a percentile bootstrap interval; the order of the items does not matter, `seed` draws the resamples.

    Equal items resample to themselves: a score of 100 % on n items gets an interval without width (use `wilson` there).
    """
    return _bootstrap(items, seed, resamples, level, "bootstrap")


def paired_bootstrap(
    ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """Mean of ours - theirs on the same items, items resampled together."""
    if len(ours) != len(theirs):
        raise SettingsError("a paired bootstrap needs both models on the same items", got=f"{len(ours)} and {len(theirs)} items")
    return _bootstrap([a - b for a, b in zip(ours, theirs, strict=True)], seed, resamples, level, "paired bootstrap")


_CHUNK_DRAWS = 4_000_000  # 32 MB of indices at a time, whatever the number of items


def _bootstrap(items: Sequence[float], seed: int, resamples: int, level: float, method: str) -> Interval:
    _check(items, level)
    if resamples < 100:
        raise SettingsError("a bootstrap needs at least 100 resamples", got=resamples)
    n = len(items)
    if n == 0:
        return Interval(value=None, n=0, level=level, method=method)
    mean = math.fsum(items) / n
    if n == 1:
        return Interval(value=mean, n=1, level=level, method=method)
    import numpy as np

    values = np.sort(np.asarray(items, dtype=np.float64))
    if values[0] == values[-1]:
        return Interval(value=mean, low=mean, high=mean, n=n, level=level, method=method)
    draw = np.random.default_rng(seed)
    rows = max(1, _CHUNK_DRAWS // n)
    means = np.concatenate(
        [values[draw.integers(0, n, size=(min(rows, resamples - start), n))].mean(axis=1) for start in range(0, resamples, rows)]
    )
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(value=mean, low=float(low), high=float(high), n=n, level=level, method=method)


def wilson(right: float, n: int, *, level: float = 0.95) -> Interval:
    """Share `right` / `n` with Wilson's score interval, which stays honest at 0 % and 100 %. Ties may count half."""
    _check((), level)
    if not 0 <= right <= n:
        raise SettingsError("a share needs 0 <= right <= n", got=f"{right} of {n}")
    if n == 0:
        return Interval(value=None, n=0, level=level, method="wilson")
    from scipy.special import ndtri

    z = float(ndtri(0.5 + level / 2))
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(value=share, low=max(0.0, centre - reach), high=min(1.0, centre + reach), n=n, level=level, method="wilson")


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for the number of comparisons (Holm 1979), in the order given; never above 1."""
    wrong = [p for p in p_values if not 0 <= p <= 1]
    if wrong:
        raise SettingsError("a p-value must be in [0, 1]", got=wrong[0])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _check(values: Sequence[float], level: float) -> None:
    if not 0 < level < 1:
        raise SettingsError("the level of an interval must be between 0 and 1", got=level, fix="0.95 is the project's rule")
    if not all(math.isfinite(v) for v in values):
        raise SettingsError("an interval needs finite values", got="NaN or infinity", fix="leave unscored items out")
