"""Attention in two parts: over a trunk that several rows share, and over what is a row's own; put together exactly by their log-sums.

All rows of a pass lie one after another in one sequence, (1, tokens, ...), so that everything but attention works on real tokens only.
Queries and keys carry their positions when they arrive here, so where a key is stored has no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

NAME = "tutelage_prefix_tree"
_SMALL_BLOCK = 256
"""Tokens below which rows of different lengths are attended together, padded to the longest."""
_BLOCK_SCORES = 1 << 25
"""Scores that may stand in memory at once where no fused kernel returns log-sums."""


class Unshareable(Exception):
    """The architecture needs something of attention that prefix sharing cannot give; the plain path answers instead."""


class Pass(Protocol):
    """What one forward pass attends to."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query (tokens, heads, size), key and value (tokens, kv_heads, size) -> (tokens, heads, size)."""
        ...


def prefix_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    prefix_pass: Pass | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """In the shape transformers expects: query (1, heads, tokens, size) -> (1, tokens, heads, size)."""
    del attention_mask, dropout
    if prefix_pass is None:
        raise Unshareable("the architecture does not hand its options down to attention")
    for name in ("sliding_window", "softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise Unshareable(f"attention with {name}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = prefix_pass.attend(module.layer_idx, query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1), scale)
    return out.unsqueeze(0), None


def register() -> None:
    """Make the attention known to transformers under `NAME`. Doing it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, prefix_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Grid:
    """Where tokens that lie one after another stand in a (rows, longest) table."""

    rows: int
    longest: int
    places: Tensor | None
    """(tokens,) place of each token; None where the table is full."""

    def lay(self, flat: Tensor) -> Tensor:
        """(tokens, heads, size) -> (rows, longest, heads, size), zeros where there is no token."""
        if self.places is None:
            return flat.reshape(self.rows, self.longest, *flat.shape[1:])
        table = flat.new_zeros(self.rows * self.longest, *flat.shape[1:])
        return table.index_copy_(0, self.places, flat).view(self.rows, self.longest, *flat.shape[1:])

    def take(self, table: Tensor) -> Tensor:
        """(rows, longest, ...) -> (tokens, ...)."""
        flat = table.reshape(self.rows * self.longest, *table.shape[2:])
        return flat if self.places is None else flat.index_select(0, self.places)


def grid_of(rows: Tensor, count: int) -> Grid:
    """The table of `count` rows whose next free place in row `rows[i]` token i takes."""
    sizes = torch.bincount(rows, minlength=count)
    longest = int(sizes.max())
    order = torch.argsort(rows, stable=True)
    if bool((sizes == longest).all()) and bool((rows[1:] >= rows[:-1]).all()):
        return Grid(count, longest, None)
    rank = torch.empty_like(rows)
    rank[order] = torch.arange(len(rows), device=rows.device) - (sizes.cumsum(0) - sizes)[rows[order]]
    return Grid(count, longest, rows * longest + rank)


@dataclass(frozen=True, slots=True)
class Trunks:
    """Encoded prefixes, one per row of each tensor."""

    keys: list[Tensor]
    """Per layer (trunks, kv_heads, slots, size)."""
    values: list[Tensor]
    mask: Tensor | None
    """(trunks, slots): 0 where there is a token, -inf where there is none. None where all slots are filled."""

    @property
    def rows(self) -> int:
        return self.keys[0].shape[0]

    @property
    def slots(self) -> int:
        return self.keys[0].shape[2]

    def select(self, index: Tensor) -> Trunks:
        return Trunks(
            [k.index_select(0, index) for k in self.keys],
            [v.index_select(0, index) for v in self.values],
            None if self.mask is None else self.mask.index_select(0, index),
        )

    def slice(self, start: int, stop: int) -> Trunks:
        if start == 0 and stop == self.rows:
            return self
        return Trunks(
            [k[start:stop] for k in self.keys],
            [v[start:stop] for v in self.values],
            None if self.mask is None else self.mask[start:stop],
        )


def _with_log_sums(query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """(rows, heads, queries, size) over (rows, heads, keys, size) -> the attention and the log of each query's sum of weights.

    `mask` is (rows, keys), added to every query's scores.
    """
    if query.device.type == "cpu" and query.shape[-1] == value.shape[-1]:
        spread = None if mask is None else mask[:, None, None, :].expand(-1, query.shape[1], query.shape[2], -1)
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
        out, log_sums = kernel(query, key, value, 0.0, causal, attn_mask=spread, scale=scale)
        return out, log_sums
    rows = max(1, _BLOCK_SCORES // (query.shape[1] * query.shape[2] * key.shape[2]))
    parts = []
    for i in range(0, query.shape[0], rows):
        some = slice(i, i + rows)
        parts.append(_spelled_out(query[some], key[some], value[some], scale, causal=causal, mask=None if mask is None else mask[some]))
    return torch.cat([out for out, _ in parts]), torch.cat([sums for _, sums in parts])


def _spelled_out(query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    scores = torch.matmul(query, key.transpose(-1, -2)).float() * scale
    if causal:
        scores += torch.full(scores.shape[-2:], float("-inf"), device=scores.device).triu_(1)
    if mask is not None:
        scores += mask[:, None, None, :]
    log_sums = scores.logsumexp(-1)
    return torch.matmul((scores - log_sums.unsqueeze(-1)).exp().to(value.dtype), value), log_sums


def _over_trunks(query: Tensor, trunks: Trunks, layer: int, groups: Grid, scale: float) -> tuple[Tensor, Tensor]:
    """Every token over its group's trunk: (tokens, heads, size) -> the attention (tokens, heads, size), log-sums (tokens, heads)."""
    keys, values = trunks.keys[layer], trunks.values[layer]
    kv_heads, size = keys.shape[1], query.shape[-1]
    rep = query.shape[1] // kv_heads
    # Queries of one group stand side by side as one matrix; those of heads that share keys join them.
    table = groups.lay(query).view(groups.rows, groups.longest, kv_heads, rep, size).permute(0, 2, 1, 3, 4)
    flat = table.reshape(groups.rows, kv_heads, groups.longest * rep, size)
    out, log_sums = _with_log_sums(flat, keys, values, scale, causal=False, mask=trunks.mask)
    out = out.reshape(groups.rows, kv_heads, groups.longest, rep, -1).permute(0, 2, 1, 3, 4)
    log_sums = log_sums.reshape(groups.rows, kv_heads, groups.longest, rep).permute(0, 2, 1, 3)
    tokens_out, tokens_sums = groups.take(out), groups.take(log_sums)
    return tokens_out.reshape(tokens_out.shape[0], query.shape[1], -1), tokens_sums.reshape(tokens_out.shape[0], query.shape[1])


def _joined(own: Tensor, own_sums: Tensor, trunk: Tensor, trunk_sums: Tensor) -> Tensor:
    """Attention over both parts, from the attention over each and the logs of their sums."""
    return torch.lerp(trunk, own, torch.sigmoid(own_sums - trunk_sums).unsqueeze(-1).to(own.dtype))


class Kept:
    """Room for the keys and values of fresh segments, per layer (rows, kv_heads, slots, size); zeros where nothing was written."""

    def __init__(self, rows: int, slots: int) -> None:
        self._shape = (rows, slots)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def put(self, layer: int, start: int, key: Tensor, value: Tensor) -> None:
        """From row `start` on: (some rows, longest, kv_heads, size) each."""
        if layer > len(self.keys):
            raise Unshareable("layers that do not attend once each, in order")
        if layer == len(self.keys):
            rows, slots = self._shape
            self.keys.append(key.new_zeros(rows, key.shape[2], slots, key.shape[3]))
            self.values.append(value.new_zeros(rows, value.shape[2], slots, value.shape[3]))
        rows, longest = key.shape[:2]
        self.keys[layer][start : start + rows, :, :longest] = key.transpose(1, 2)
        self.values[layer][start : start + rows, :, :longest] = value.transpose(1, 2)


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring rows of one pass that are attended together, being of one length or nearly."""

    tokens: slice
    row: int
    """Number of its first row in the pass."""
    rows: Grid
    trunks: Trunks | None
    groups: Grid | None


def blocks_of(lengths: list[int], groups: list[int] | None, trunks: Trunks | None, device: torch.device) -> list[Block]:
    """Rows of rising length, cut so that a block has rows of one length, or is small. `groups`: the trunk of each row."""
    blocks: list[Block] = []
    first, offset = 0, 0
    while first < len(lengths):
        last, size = first, 0
        while last < len(lengths) and (lengths[last] == lengths[first] or size < _SMALL_BLOCK):
            size += lengths[last]
            last += 1
        counts = torch.tensor(lengths[first:last])
        rows = torch.repeat_interleave(torch.arange(last - first), counts)
        table = grid_of(rows, last - first)
        some, among = None, None
        if trunks is not None and groups is not None:
            mine = torch.tensor(groups[first:last])
            low, high = int(mine.min()), int(mine.max()) + 1
            some = trunks.slice(low, high)
            among = grid_of(torch.repeat_interleave(mine - low, counts), high - low)
            among = Grid(among.rows, among.longest, None if among.places is None else among.places.to(device))
        table = Grid(table.rows, table.longest, None if table.places is None else table.places.to(device))
        blocks.append(Block(slice(offset, offset + size), first, table, some, among))
        first, offset = last, offset + size
    return blocks


class Encoding:
    """A pass over fresh segments: every row attends to its trunk and, causally, to itself. Keys and values may be kept."""

    def __init__(self, blocks: list[Block], *, kept: Kept | None = None, row: int = 0) -> None:
        """`row`: number of the pass's first row in `kept`."""
        self._blocks = blocks
        self._kept = kept
        self._row = row

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        parts = [self._attend(layer, block, query[block.tokens], key[block.tokens], value[block.tokens], scale) for block in self._blocks]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attend(self, layer: int, block: Block, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        tables = [block.rows.lay(x) for x in (query, key, value)]
        if self._kept is not None:
            self._kept.put(layer, self._row + block.row, tables[1], tables[2])
        q, k, v = (x.transpose(1, 2) for x in tables)
        if block.trunks is None or block.groups is None:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1])
            return block.rows.take(out.transpose(1, 2))
        rep = q.shape[1] // k.shape[1]
        if rep > 1:
            k, v = k.repeat_interleave(rep, 1), v.repeat_interleave(rep, 1)
        own, own_sums = _with_log_sums(q, k, v, scale, causal=True, mask=None)
        trunk, trunk_sums = _over_trunks(query, block.trunks, layer, block.groups, scale)
        return _joined(block.rows.take(own.transpose(1, 2)), block.rows.take(own_sums.transpose(1, 2)), trunk, trunk_sums)


class Stepping:
    """Passes that add one token to every row. Rows may be dropped between passes.

    A row's own keys stand in slots 0 to its length; new ones go to the same slot for all rows, behind the longest.
    """

    def __init__(self, kept: Kept, filled: int, lengths: Tensor, *, trunks: Trunks | None, groups: list[int] | None) -> None:
        """`kept`: with at least one slot of room behind the `filled` ones; row i is filled up to `lengths[i]`. `groups`: the trunk of
        each row."""
        self._kv_heads, slots, self._size = kept.keys[0].shape[1:]
        self._filled = filled
        self._keys = [k.view(-1, slots, k.shape[-1]) for k in kept.keys]
        self._values = [v.view(-1, slots, v.shape[-1]) for v in kept.values]
        self._mask = None
        if filled and int(lengths.min()) < filled:
            places = torch.arange(slots, device=lengths.device)
            gap = (places >= lengths.unsqueeze(1)) & (places < filled)
            self._mask = torch.zeros(gap.shape, device=lengths.device, dtype=torch.float32).masked_fill_(gap, float("-inf"))
        self._trunks = trunks
        self._groups = groups
        self._lay_groups()

    def _roomy(self, states: Tensor, room: int) -> Tensor:
        """(rows, kv_heads, slots, size) -> (rows * kv_heads, slots + room, size)."""
        rows, heads, slots, size = states.shape
        larger = states.new_zeros(rows, heads, slots + room, size)
        larger[:, :, :slots] = states
        return larger.view(rows * heads, slots + room, size)

    def _lay_groups(self) -> None:
        self._grid: Grid | None = None
        if self._trunks is None or self._groups is None:
            return
        self._grid = grid_of(torch.tensor(self._groups, device=self._keys[0].device), self._trunks.rows)

    def advance(self) -> None:
        """After a pass: the next token goes to the next slot."""
        self._filled += 1
        if self._filled == self._keys[0].shape[1]:
            room = max(16, self._filled // 2)
            heads = self._kv_heads
            self._keys = [self._roomy(k.view(-1, heads, *k.shape[1:]), room) for k in self._keys]
            self._values = [self._roomy(v.view(-1, heads, *v.shape[1:]), room) for v in self._values]
            if self._mask is not None:
                self._mask = F.pad(self._mask, (0, room))

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only, in rising order."""
        heads, slots = self._kv_heads, self._keys[0].shape[1]

        def chosen(states: Tensor) -> Tensor:
            return states.view(-1, heads, slots, states.shape[-1]).index_select(0, index).view(-1, slots, states.shape[-1])

        self._keys = [chosen(k) for k in self._keys]
        self._values = [chosen(v) for v in self._values]
        if self._mask is not None:
            self._mask = self._mask.index_select(0, index)
        if self._trunks is not None and self._groups is not None:
            groups = [self._groups[i] for i in index.tolist()]
            alive = sorted(set(groups))
            if len(alive) < self._trunks.rows:
                number = {group: i for i, group in enumerate(alive)}
                groups = [number[group] for group in groups]
                self._trunks = self._trunks.select(torch.tensor(alive, device=index.device))
            self._groups = groups
            self._lay_groups()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        rows, heads, size = query.shape
        rep = heads // self._kv_heads
        keys, values = self._keys[layer], self._values[layer]
        keys[:, self._filled] = key.reshape(-1, size)
        values[:, self._filled] = value.reshape(-1, value.shape[-1])
        used = self._filled + 1
        scores = torch.bmm(query.reshape(rows * self._kv_heads, rep, size) * scale, keys[:, :used].transpose(1, 2)).float()
        if self._mask is not None:
            scores.view(rows, heads, used).add_(self._mask[:, None, :used])
        if self._trunks is None or self._grid is None:
            return torch.bmm(torch.softmax(scores, -1).to(values.dtype), values[:, :used]).view(rows, heads, -1)
        own_sums = scores.logsumexp(-1, keepdim=True)
        own = torch.bmm(scores.sub_(own_sums).exp_().to(values.dtype), values[:, :used]).view(rows, heads, -1)
        trunk, trunk_sums = _over_trunks(query, self._trunks, layer, self._grid, scale)
        return _joined(own, own_sums.view(rows, heads), trunk, trunk_sums)
