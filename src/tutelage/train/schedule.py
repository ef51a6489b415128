"""Learning rates over the steps of a fit. Torch-free."""

from __future__ import annotations

import math

from tutelage.train.settings import FitSettings


def factor(settings: FitSettings, step: int, total: int) -> float:
    """What the learning rate is multiplied by in step `step` (from 0) of `total`: a linear rise, then constant, linear or half-cosine
    fall. The first step already moves, and the last one still does."""
    rise = math.ceil(settings.warmup * total)
    if step < rise:
        return (step + 1) / rise
    share = (step - rise) / max(1, total - rise)
    if settings.schedule == "linear":
        return 1.0 - share
    if settings.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * share))
    return 1.0
