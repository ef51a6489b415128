"""Which tokens the requests of one call share, as a plan: trunks that are encoded once, and leaves that hang on them. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MIN_TRUNK_TOKENS = 12
"""A shorter shared prefix costs more (a second attention in every step) than it saves."""
MIN_SAVING = 0.03
"""Share of all tokens that the trunks of one level must save; every level is one more pass."""

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """A prefix that several requests share, as an extension of another one."""

    parent: int | None
    start: int
    """Tokens before `start` belong to the parent."""
    ids: tuple[int, ...]
    level: int
    """0 where there is no parent."""

    @property
    def end(self) -> int:
        return self.start + len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """The rest of one request behind its trunk; never empty."""

    request: int
    trunk: int | None
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    trunks: tuple[Trunk, ...]
    """Parents before children."""
    leaves: tuple[Leaf, ...]
    """Leaves of one trunk stand together."""

    def tokens(self, requests: Sequence[Ids]) -> int:
        """How many tokens have to be encoded."""
        return sum(len(t.ids) for t in self.trunks) + sum(len(requests[leaf.request]) - leaf.start for leaf in self.leaves)


def plan_tree(requests: Sequence[Ids], *, open_ends: Sequence[int] | None = None, min_trunk: int = MIN_TRUNK_TOKENS) -> Plan:
    """The tree of common prefixes worth sharing. The last `open_ends[i]` tokens of request i (at least and by default the last one)
    stay in its leaf, because their predictions are wanted."""
    shared = [len(ids) - max(1, 1 if open_ends is None else open_ends[i]) for i, ids in enumerate(requests)]
    order = sorted(range(len(requests)), key=lambda i: requests[i])
    common = [0, *(_common(requests[a], requests[b], min(shared[a], shared[b])) for a, b in pairwise(order))]
    trunks: list[Trunk] = []
    leaves: list[Leaf] = []
    # Ranges of `order` still to be placed, each with the trunk that it hangs on. A stack, not recursion: prefixes
    # may nest deeper than calls may.
    pending: list[tuple[int, int, int | None]] = [(0, len(order), None)]
    while pending:
        first, last, trunk = pending.pop()
        start = 0 if trunk is None else trunks[trunk].end
        alone: list[Leaf] = []
        for low, high, depth in _runs(common, first, last, start + min_trunk):
            if high - low == 1:
                alone.append(Leaf(request=order[low], trunk=trunk, start=start))
                continue
            ids = tuple(requests[order[low]][start:depth])
            trunks.append(Trunk(parent=trunk, start=start, ids=ids, level=0 if trunk is None else trunks[trunk].level + 1))
            pending.append((low, high, len(trunks) - 1))
        leaves.extend(alone)
    return _without_thin_levels(Plan(trunks=tuple(trunks), leaves=tuple(leaves)), requests)


def _without_thin_levels(plan: Plan, requests: Sequence[Ids]) -> Plan:
    """The plan less the levels that save too little; what hung on their trunks hangs on the next trunk below."""
    branches = [0] * len(plan.trunks)
    for item in (*plan.trunks, *plan.leaves):
        above = item.parent if isinstance(item, Trunk) else item.trunk
        if above is not None:
            branches[above] += 1
    least = MIN_SAVING * sum(map(len, requests))
    saved: dict[int, int] = {}
    for trunk, count in zip(plan.trunks, branches, strict=True):
        saved[trunk.level] = saved.get(trunk.level, 0) + (count - 1) * len(trunk.ids)
    if all(tokens >= least for tokens in saved.values()):
        return plan
    first: dict[int, int] = {}  # some request under each trunk, to read the tokens of a dissolved parent from
    for leaf in plan.leaves:
        above = leaf.trunk
        while above is not None:
            first[above] = leaf.request
            above = plan.trunks[above].parent
    number: dict[int | None, int | None] = {None: None}
    kept: list[Trunk] = []
    for index, trunk in enumerate(plan.trunks):
        parent = number[trunk.parent]
        if saved[trunk.level] < least:
            number[index] = parent
            continue
        start = 0 if parent is None else kept[parent].end
        level = 0 if parent is None else kept[parent].level + 1
        kept.append(Trunk(parent=parent, start=start, ids=tuple(requests[first[index]][start : trunk.end]), level=level))
        number[index] = len(kept) - 1
    leaves = [(number[leaf.trunk], leaf.request) for leaf in plan.leaves]
    leaves.sort(key=lambda leaf: -1 if leaf[0] is None else leaf[0])
    return Plan(
        trunks=tuple(kept),
        leaves=tuple(Leaf(request=request, trunk=trunk, start=0 if trunk is None else kept[trunk].end) for trunk, request in leaves),
    )


def _common(a: Ids, b: Ids, limit: int) -> int:
    """How many of the first `limit` ids are the same, by halving: slices are compared at once, ids would be one by one."""
    same, differ = 0, limit + 1
    while differ - same > 1:
        middle = (same + differ) // 2 if differ <= limit else limit
        if a[same:middle] == b[same:middle]:
            same = middle
        else:
            differ = middle
    return same


def _runs(common: Sequence[int], first: int, last: int, least: int) -> Iterator[tuple[int, int, int]]:
    """Split [first, last) where neighbours share fewer than `least` tokens: (low, high, tokens shared by all of the run)."""
    low, depth = first, 0
    for place in range(first + 1, last + 1):
        if place < last and common[place] >= least:
            depth = common[place] if place == low + 1 else min(depth, common[place])
            continue
        yield low, place, depth
        low, depth = place, 0


def cut(requests: Sequence[Ids], *, extra: int, budget: int) -> Iterator[list[int]]:
    """The requests in an order that keeps common prefixes together, cut so that the distinct tokens of a part, with `extra` more for
    each request, stay within `budget`. A request larger than the budget is a part of its own."""
    order = sorted(range(len(requests)), key=lambda i: requests[i])
    part: list[int] = []
    used = 0
    for index in order:
        ids = requests[index]
        shared = _common(requests[part[-1]], ids, min(len(ids), len(requests[part[-1]]))) if part else 0
        cost = len(ids) - shared + extra
        if part and used + cost > budget:
            yield part
            part, used, cost = [], 0, len(ids) + extra
        part.append(index)
        used += cost
    if part:
        yield part
