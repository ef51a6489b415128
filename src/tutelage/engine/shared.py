"""A torch module that encodes every common prefix once.

What the attention in `attention.py` makes possible: trunks are encoded level by level, then the leaves on them, all in passes without
padding; rows then grow token by token and leave when they are done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.engine.attention import NAME as ATTENTION
from tutelage.engine.attention import Encoding, Kept, Pass, Stepping, Trunks, Unshareable, blocks_of, register
from tutelage.engine.llama import passes_of
from tutelage.engine.plain import evaluating
from tutelage.engine.tree import Ids, Leaf, Plan

_EXPAND_TOKENS = 48
"""Samples of one prompt get copies of a leaf shorter than this; a longer one becomes a trunk that they share."""
_ROOM = 64
"""New tokens for which there is room from the start."""
_BATCHING_RATIO, _BATCHING_SLACK = 1.3, 16
"""Trunks are encoded and used together while the longest is at most ratio * shortest + slack."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is computed at once."""

    pass_tokens: int
    """Tokens of one encoding pass."""
    pass_logits: int
    """Logits of one scoring pass (tokens times vocabulary)."""
    held_tokens: int
    """Tokens whose keys and values are held at once."""


def sizes_for(module: Any) -> Sizes:
    """Bounds that keep the working memory near a quarter of a gigabyte on a CPU, and in proportion to what is free on an accelerator."""
    config = module.config.get_text_config()
    width, layers = config.hidden_size, config.num_hidden_layers
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or width // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    weight = next(module.parameters())
    byte = weight.element_size()
    memory = 1 << 28
    if weight.device.type == "cuda":
        memory = max(memory, torch.cuda.mem_get_info(weight.device)[0] // 4)
    inner = getattr(config, "intermediate_size", None) or 4 * width
    return Sizes(
        pass_tokens=max(256, min(1 << 12, memory // 2 // (byte * (8 * width + 4 * inner)))),
        pass_logits=max(1 << 20, memory // 16),
        held_tokens=max(1 << 12, memory // (byte * 2 * layers * kv_heads * size)),
    )


@contextmanager
def prefix_sharing(module: Any) -> Iterator[None]:
    """Inside, the module's attention is the one that shares prefixes; afterwards it is what it was before."""
    core = module.get_base_model() if hasattr(module, "get_base_model") else module
    before = core.config._attn_implementation
    register()
    with evaluating(module):
        try:
            core.set_attn_implementation(ATTENTION)
            yield
        finally:
            core.set_attn_implementation(before)


class SharedModule:
    """A module inside `prefix_sharing`."""

    def __init__(self, module: Any, *, vocabulary: int | None = None) -> None:
        """`vocabulary`: ids from here on are no tokens and get no probability."""
        self._module = module
        self._device = next(module.parameters()).device
        self._vocabulary = vocabulary
        self._fast = passes_of(module)
        self.sizes = sizes_for(module)

    def forward(self, ids: Tensor, positions: Tensor, what: Pass, *, wanted: Tensor | None) -> Tensor:
        """Logits (wanted tokens, vocabulary) of a pass over (tokens,) ids; of all tokens where `wanted` is None."""
        if self._fast is not None:
            logits = self._fast.logits(ids, positions, what, wanted=wanted)
        else:
            logits = self._module_logits(ids, positions, what, wanted=wanted)
        return logits if self._vocabulary is None else logits[:, : self._vocabulary]

    def _module_logits(self, ids: Tensor, positions: Tensor, what: Pass, *, wanted: Tensor | None) -> Tensor:
        out = self._module(
            input_ids=ids.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            logits_to_keep=0 if wanted is None else wanted,
            prefix_pass=what,
        )
        return out.logits[0]

    def step(self, tokens: Tensor, positions: Tensor, what: Stepping) -> Tensor:
        """Logits (rows, vocabulary) of a pass that adds one token to every row."""
        if self._fast is not None and not self._fast.tried:
            # Until `advance`, a pass over the same tokens writes the same keys to the same slot, so that it can be made twice.
            mine, true = (call(tokens, positions, what, wanted=None) for call in (self._fast.logits, self._module_logits))
            if not self._fast.holds(mine, true):
                self._fast = None
        return self.forward(tokens, positions, what, wanted=None)

    def encode_trunks(self, plan: Plan) -> TrunkStore:
        """All trunks of the plan, parents first."""
        store = TrunkStore(plan)
        for level in range(1 + max((t.level for t in plan.trunks), default=-1)):
            ready = [i for i, t in enumerate(plan.trunks) if t.level == level]
            for bucket in _buckets(ready, lambda i: plan.trunks[i].end):
                for part in _parts(bucket, [len(plan.trunks[i].ids) for i in bucket], self.sizes.pass_tokens):
                    self._encode_trunks(plan, store, part)
        return store

    def _encode_trunks(self, plan: Plan, store: TrunkStore, nodes: list[int]) -> None:
        nodes = sorted(nodes, key=lambda i: len(plan.trunks[i].ids))
        trunks = [plan.trunks[i] for i in nodes]
        kept = Kept(len(trunks), max(len(t.ids) for t in trunks))
        self._encode([t.ids for t in trunks], [t.start for t in trunks], store, [t.parent for t in trunks], [[] for _ in trunks], kept=kept)
        lengths = torch.tensor([len(t.ids) for t in trunks], device=self._device)
        parents = None if trunks[0].parent is None else store.gather([t.parent for t in trunks if t.parent is not None])
        store.put(nodes, extended(parents, kept.keys, kept.values, lengths))

    def _encode(
        self,
        segments: Sequence[Ids],
        starts: Sequence[int],
        store: TrunkStore,
        on: Sequence[int | None],
        wanted: Sequence[Sequence[int]],
        *,
        kept: Kept | None = None,
        row: int = 0,
    ) -> Tensor:
        """One pass over the segments, which rise in length, each behind `starts[i]` tokens of trunk `on[i]` (all or none of them None).
        The logits at the places `wanted` of each, one after another. Keys and values go to `kept` from row `row` on."""
        lengths = [len(s) for s in segments]
        trunks = groups = None
        alive = sorted({i for i in on if i is not None})
        if alive:
            number = {trunk: i for i, trunk in enumerate(alive)}
            trunks, groups = store.gather(alive), [number[i] for i in on if i is not None]
        encoding = Encoding(blocks_of(lengths, groups, trunks, self._device), kept=kept, row=row)
        ids = torch.tensor([i for s in segments for i in s], device=self._device)
        spans = [range(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        positions = torch.tensor([place for span in spans for place in span], device=self._device)
        places, offset = [], 0
        for length, places_of_row in zip(lengths, wanted, strict=True):
            places.extend(offset + place for place in places_of_row)
            offset += length
        # Some place must be asked for; a pass whose logits nobody wants gives those of its last token.
        chosen = torch.tensor(places or [offset - 1], device=self._device)
        return self.forward(ids, positions, encoding, wanted=chosen)

    def score(self, plan: Plan, requests: Sequence[Ids], ends: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        """For parts of the plan: request numbers, and the logits that predict the last `ends[i]` tokens of each, one after another."""
        store = self.encode_trunks(plan)
        for bucket in _leaf_buckets(plan, requests):
            width = self._vocabulary or self._module.config.get_text_config().vocab_size
            # A token whose logits are wanted costs as many plain ones as keep both bounds.
            dear = self.sizes.pass_tokens * width // self.sizes.pass_logits
            costs = [max(len(requests[leaf.request]) - leaf.start - 1, ends[leaf.request] * dear) for leaf in bucket]
            for part in _parts(bucket, costs, self.sizes.pass_tokens):
                segments = [requests[leaf.request][leaf.start : -1] for leaf in part]
                wanted = [list(range(len(s) - ends[leaf.request], len(s))) for s, leaf in zip(segments, part, strict=True)]
                starts, on = [leaf.start for leaf in part], [leaf.trunk for leaf in part]
                yield [leaf.request for leaf in part], self._encode(segments, starts, store, on, wanted)

    def branches(self, plan: Plan, requests: Sequence[Ids], *, samples: int, room: int) -> Iterator[tuple[list[int], Tensor, SharedRows]]:
        """For parts of the plan: the request of every row (each `samples` times in a row), the logits of the rows' first tokens, and the
        rows themselves."""
        store = self.encode_trunks(plan)
        for bucket in _leaf_buckets(plan, requests):
            lengths = [len(requests[leaf.request]) - leaf.start for leaf in bucket]
            kept = Kept(len(bucket), max(lengths) + (1 + min(room, _ROOM) if samples == 1 else 0))
            logits: list[Tensor] = []
            row = 0
            for part in _parts(bucket, lengths, self.sizes.pass_tokens):
                segments = [requests[leaf.request][leaf.start :] for leaf in part]
                starts, on = [leaf.start for leaf in part], [leaf.trunk for leaf in part]
                logits.append(self._encode(segments, starts, store, on, [[len(s) - 1] for s in segments], kept=kept, row=row))
                row += len(part)
            rows = [leaf.request for leaf in bucket for _ in range(samples)]
            stepping = self._stepping(bucket, lengths, store, kept, samples=samples, room=1 + min(room, _ROOM))
            yield rows, torch.cat(logits).repeat_interleave(samples, 0), SharedRows(self, stepping)

    def _stepping(self, bucket: list[Leaf], lengths: list[int], store: TrunkStore, kept: Kept, *, samples: int, room: int) -> Stepping:
        """The rows that grow from these leaves. Samples of one prompt get copies of a short leaf; a long one becomes their trunk."""
        filled = torch.tensor(lengths, device=self._device)
        trunks: Trunks | None = None
        groups: list[int] | None = None
        alive = sorted({leaf.trunk for leaf in bucket if leaf.trunk is not None})
        if alive:
            number = {trunk: i for i, trunk in enumerate(alive)}
            trunks, groups = store.gather(alive), [number[leaf.trunk] for leaf in bucket if leaf.trunk is not None]
        if samples == 1:
            return Stepping(kept, max(lengths), filled, trunks=trunks, groups=groups)
        grown = Kept(0, 0)
        if max(lengths) >= _EXPAND_TOKENS:
            each = None if trunks is None or groups is None else trunks.select(torch.tensor(groups, device=self._device))
            trunks = extended(each, kept.keys, kept.values, filled)
            groups = [i for i in range(len(bucket)) for _ in range(samples)]
            grown.keys = [k.new_zeros(len(groups), k.shape[1], room, k.shape[3]) for k in kept.keys]
            grown.values = [v.new_zeros(len(groups), v.shape[1], room, v.shape[3]) for v in kept.values]
            return Stepping(grown, 0, torch.zeros(len(groups), device=self._device), trunks=trunks, groups=groups)
        grown.keys = [F.pad(k.repeat_interleave(samples, 0), (0, 0, 0, room)) for k in kept.keys]
        grown.values = [F.pad(v.repeat_interleave(samples, 0), (0, 0, 0, room)) for v in kept.values]
        groups = None if groups is None else [g for g in groups for _ in range(samples)]
        return Stepping(grown, max(lengths), filled.repeat_interleave(samples), trunks=trunks, groups=groups)


class SharedRows:
    """Rows that grow by one token at a time."""

    def __init__(self, module: SharedModule, stepping: Stepping) -> None:
        self._module = module
        self._stepping = stepping

    def feed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits (rows, vocabulary) after one more token at its position."""
        logits = self._module.step(tokens, positions, self._stepping)
        self._stepping.advance()
        return logits

    def keep(self, index: Tensor) -> None:
        self._stepping.keep(index)


class TrunkStore:
    """Encoded trunks by their number in the plan."""

    def __init__(self, plan: Plan) -> None:
        self._place: list[tuple[Trunks, int] | None] = [None] * len(plan.trunks)

    def put(self, nodes: Sequence[int], trunks: Trunks) -> None:
        for row, node in enumerate(nodes):
            self._place[node] = (trunks, row)

    def gather(self, nodes: Sequence[int]) -> Trunks:
        """These trunks, in this order, in one piece."""
        runs: list[tuple[Trunks, list[int]]] = []
        for node in nodes:
            place = self._place[node]
            if place is None:
                raise Unshareable("a trunk is used before it is encoded")
            if runs and runs[-1][0] is place[0]:
                runs[-1][1].append(place[1])
            else:
                runs.append((place[0], [place[1]]))
        parts = []
        for trunks, rows in runs:
            if rows == list(range(rows[0], rows[0] + len(rows))):
                parts.append(trunks.slice(rows[0], rows[0] + len(rows)))
            else:
                parts.append(trunks.select(torch.tensor(rows, device=trunks.keys[0].device)))
        return parts[0] if len(parts) == 1 else _side_by_side(parts)


def _side_by_side(parts: list[Trunks]) -> Trunks:
    slots, device = max(p.slots for p in parts), parts[0].keys[0].device
    mask = None
    if any(p.slots < slots or p.mask is not None for p in parts):
        masks = [torch.zeros(p.rows, p.slots, device=device) if p.mask is None else p.mask for p in parts]
        mask = torch.cat([F.pad(m, (0, slots - m.shape[1]), value=float("-inf")) for m in masks])
    return Trunks(_stacked([p.keys for p in parts]), _stacked([p.values for p in parts]), mask)


def extended(trunks: Trunks | None, keys: list[Tensor], values: list[Tensor], lengths: Tensor) -> Trunks:
    """Row i of `trunks` followed by the first `lengths[i]` slots of row i of `keys` and `values`."""
    slots = keys[0].shape[2]
    mask = None
    if int(lengths.min()) < slots:
        absent = torch.arange(slots, device=lengths.device) >= lengths.unsqueeze(1)
        mask = torch.zeros(absent.shape, device=lengths.device).masked_fill_(absent, float("-inf"))
    if trunks is None:
        return Trunks(keys, values, mask)
    if mask is not None or trunks.mask is not None:
        shape = (len(lengths), trunks.slots)
        before = torch.zeros(shape, device=lengths.device) if trunks.mask is None else trunks.mask
        after = torch.zeros((len(lengths), slots), device=lengths.device) if mask is None else mask
        mask = torch.cat([before, after], 1)
    return Trunks(
        [torch.cat(pair, 2) for pair in zip(trunks.keys, keys, strict=True)],
        [torch.cat(pair, 2) for pair in zip(trunks.values, values, strict=True)],
        mask,
    )


def _stacked(parts: list[list[Tensor]]) -> list[Tensor]:
    """Per layer, the rows of all parts, padded to the longest."""
    if len(parts) == 1:
        return parts[0]
    slots = max(part[0].shape[2] for part in parts)
    return [torch.cat([F.pad(part[layer], (0, 0, 0, slots - part[layer].shape[2])) for part in parts]) for layer in range(len(parts[0]))]


def _buckets(items: list[int], length: Any) -> list[list[int]]:
    """Items of similar length together."""
    buckets: list[list[int]] = []
    shortest = 0
    for item in sorted(items, key=lambda i: (length(i), i)):
        if not buckets or length(item) > _BATCHING_RATIO * shortest + _BATCHING_SLACK:
            buckets.append([])
            shortest = length(item)
        buckets[-1].append(item)
    return buckets


def _leaf_buckets(plan: Plan, requests: Sequence[Ids]) -> list[list[Leaf]]:
    """Leaves that can go together, in rising length: none with a trunk, or all with trunks of similar length."""
    on: dict[int | None, list[Leaf]] = {}
    for leaf in plan.leaves:
        on.setdefault(leaf.trunk, []).append(leaf)
    free = on.pop(None, [])
    buckets = [free] if free else []
    for bucket in _buckets([i for i in on if i is not None], lambda i: plan.trunks[i].end):
        buckets.append([leaf for trunk in sorted(bucket) for leaf in on[trunk]])
    return [sorted(bucket, key=lambda leaf: len(requests[leaf.request]) - leaf.start) for bucket in buckets]


def _parts(items: Sequence[Any], costs: Sequence[int], budget: int) -> Iterator[list[Any]]:
    """Consecutive items whose costs stay within the budget; one item larger than it stands alone."""
    part: list[Any] = []
    used = 0
    for item, cost in zip(items, costs, strict=True):
        if part and used + cost > budget:
            yield part
            part, used = [], 0
        part.append(item)
        used += cost
    if part:
        yield part
