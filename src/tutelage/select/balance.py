"""As much of every kind: classes, skills, sources."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from tutelage.errors import SettingsError

T = TypeVar("T")


def balance(
    items: Sequence[T], *, group: Callable[[T], Hashable], rng: random.Random, per_group: int | None = None
) -> tuple[list[T], dict[Hashable, int]]:
    """At most `per_group` of each group (default: as many as the smallest has), drawn at random, in the order of `items`.

    Also says how many of each group were left out; groups that lost nothing are not named.
    """
    places: dict[Hashable, list[int]] = {}
    for i, item in enumerate(items):
        places.setdefault(group(item), []).append(i)
    if not places:
        return [], {}
    most = min(map(len, places.values())) if per_group is None else per_group
    kept: set[int] = set()
    for rows in places.values():
        kept.update(rows if len(rows) <= most else rng.sample(rows, most))
    left_out = {name: len(rows) - most for name, rows in places.items() if len(rows) > most}
    return [item for i, item in enumerate(items) if i in kept], left_out


def shares(items: Sequence[T], *, group: Callable[[T], Hashable]) -> dict[Hashable, float]:
    """The share of each group, largest first."""
    counts = Counter(group(item) for item in items)
    return {name: count / len(items) for name, count in counts.most_common()}


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """`total` in whole shares in proportion to the weights (largest remainder, the earlier of equals); evenly where all weights are 0."""
    if total < 0 or any(w < 0 for w in weights):
        raise SettingsError("shares need a total and weights that are not negative", got=f"{total}, {list(weights)}")
    if not weights:
        return []
    whole = sum(weights)
    exact = [total * w / whole if whole > 0 else total / len(weights) for w in weights]
    found = [int(x) for x in exact]
    order = sorted(range(len(weights)), key=lambda i: (found[i] - exact[i], i))
    for i in order[: total - sum(found)]:
        found[i] += 1
    return found
