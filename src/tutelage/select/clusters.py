"""Groups of texts that say the same, by their vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tutelage.errors import SettingsError


def greedy_clusters(vectors: Sequence[Sequence[float]], *, alike: float) -> list[list[int]]:
    """Places of the vectors in groups: the first one that is in none takes all others of cosine above `alike`, and so on. Order matters: a
    vector belongs to the earliest that takes it. A vector of length 0 is like nothing."""
    if not -1 <= alike <= 1:
        raise SettingsError("a cosine is between -1 and 1", got=alike)
    unit = []
    for vector in vectors:
        length = math.sqrt(math.fsum(x * x for x in vector))
        unit.append([x / length for x in vector] if length else [0.0] * len(vector))
    left, found = list(range(len(unit))), list[list[int]]()
    while left:
        first, *others = left
        near = [i for i in others if math.fsum(a * b for a, b in zip(unit[first], unit[i], strict=True)) > alike]
        found.append([first, *near])
        left = [i for i in others if i not in set(near)]
    return found


def tenths(size: int, of: int) -> int:
    """The share of a group as a whole number from 0 to 10, halves upwards."""
    if not 0 <= size <= of or of < 1:
        raise SettingsError("a group is a part of the whole", got=f"{size} of {of}")
    return (20 * size + of) // (2 * of)
