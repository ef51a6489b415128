"""Whether a stated confidence means what it says."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tutelage.errors import SettingsError


def brier(confidence: Sequence[float], right: Sequence[float]) -> float | None:
    """Mean squared distance between confidence in [0, 1] and outcome (0 or 1); lower is better, None when empty."""
    _check(confidence, right)
    return math.fsum((c - r) ** 2 for c, r in zip(confidence, right, strict=True)) / len(right) if right else None


def ece(confidence: Sequence[float], right: Sequence[float], *, bins: int = 10) -> float | None:
    """Expected calibration error: mean |accuracy - confidence| over `bins` equal-width bins, weighted by their sizes.

    Bin b holds confidences in [b/bins, (b+1)/bins); 1.0 belongs to the last. Empty bins weigh nothing; None when there are no items.
    """
    _check(confidence, right)
    if bins < 1:
        raise SettingsError("calibration needs at least one bin", got=bins)
    gaps: dict[int, list[float]] = {}
    for c, r in zip(confidence, right, strict=True):
        gaps.setdefault(min(int(c * bins), bins - 1), []).append(r - c)
    return math.fsum(abs(math.fsum(gap)) for gap in gaps.values()) / len(right) if right else None


def auroc(confidence: Sequence[float], right: Sequence[float]) -> float | None:
    """Chance that a right answer was stated with more confidence than a wrong one, ties counted half; None where all are right or wrong."""
    _check(confidence, right)
    above = [c for c, r in zip(confidence, right, strict=True) if r]
    below = [c for c, r in zip(confidence, right, strict=True) if not r]
    if not above or not below:
        return None
    return math.fsum((a > b) + 0.5 * (a == b) for a in above for b in below) / (len(above) * len(below))


def quadratic_score(confidence: float, right: float) -> float:
    """1 - 2 (right - confidence)^2, in [-1, 1]: Brier's rule as a reward. Its mean is greatest where confidence is the chance of being
    right."""
    return 1.0 - 2.0 * (right - confidence) ** 2


def linear_score(confidence: float, right: float) -> float:
    """The confidence where right, minus it where wrong. Not proper: its mean is greatest at 0 or 1."""
    return confidence if right else -confidence


def unpunished_score(confidence: float, right: float) -> float:
    """Brier's rule where right, 0 where wrong: confidence costs nothing."""
    return quadratic_score(confidence, right) if right else 0.0


def _check(confidence: Sequence[float], right: Sequence[float]) -> None:
    if len(confidence) != len(right):
        raise SettingsError("calibration needs one outcome per confidence", got=f"{len(confidence)} and {len(right)}")
    outside = [c for c in confidence if not 0 <= c <= 1]
    if outside:
        raise SettingsError("a confidence must be in [0, 1]", got=outside[0])
