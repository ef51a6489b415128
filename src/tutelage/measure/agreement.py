"""How far two judges agree beyond chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from tutelage.errors import SettingsError


def kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Cohen's kappa of two judges over the same items: (observed - chance) / (1 - chance).

    None when empty, and None when both always give one and the same label: chance agreement is then 1 and kappa undefined.
    """
    if len(first) != len(second):
        raise SettingsError("kappa needs both judges on the same items", got=f"{len(first)} and {len(second)} labels")
    n = len(first)
    if n == 0:
        return None
    ours, theirs = Counter(first), Counter(second)
    # Integers until the division, so that perfect and chance agreement are exact.
    observed = n * sum(a == b for a, b in zip(first, second, strict=True))
    chance = sum(ours[label] * theirs[label] for label in ours)
    return None if chance == n * n else (observed - chance) / (n * n - chance)


def share_equal(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Plain share of items with equal labels; None when empty."""
    if len(first) != len(second):
        raise SettingsError("agreement needs both judges on the same items", got=f"{len(first)} and {len(second)} labels")
    return math.fsum(a == b for a, b in zip(first, second, strict=True)) / len(first) if first else None
