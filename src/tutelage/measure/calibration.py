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


def _check(confidence: Sequence[float], right: Sequence[float]) -> None:
    if len(confidence) != len(right):
        raise SettingsError("calibration needs one outcome per confidence", got=f"{len(confidence)} and {len(right)}")
    outside = [c for c in confidence if not 0 <= c <= 1]
    if outside:
        raise SettingsError("a confidence must be in [0, 1]", got=outside[0])
