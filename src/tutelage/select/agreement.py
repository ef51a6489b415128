"""Texts of one form that say the same thing with slips: how far each agrees with the others, and what most of them say part by part."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def agreement(texts: Sequence[str], *, between: str = " ; ") -> list[float]:
    """Per text the mean, over the others, of the share of its parts that stand at the same place there; 0 for a text that is alone.

    Parts are what `between` divides. A text of another number of parts shares at most as many as the shorter has, of as many as the longer.
    """
    parts = [text.split(between) for text in texts]
    found: list[float] = []
    for i, mine in enumerate(parts):
        others = [theirs for j, theirs in enumerate(parts) if j != i]
        alike = [sum(a == b for a, b in zip(mine, theirs, strict=False)) / max(len(mine), len(theirs)) for theirs in others]
        found.append(math.fsum(alike) / len(alike) if alike else 0.0)
    return found


def majority_text(texts: Sequence[str], *, between: str = " ; ") -> str | None:
    """Part by part what most of the texts say, among those of the commonest number of parts; ties go to what was said first. None for no
    texts."""
    parts = [text.split(between) for text in texts]
    if not parts:
        return None
    length = Counter(len(p) for p in parts).most_common(1)[0][0]
    columns = zip(*(p for p in parts if len(p) == length), strict=True)
    return between.join(Counter(column).most_common(1)[0][0] for column in columns)
