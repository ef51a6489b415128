"""Hidden states times vocabulary matrix, and a loss on the result, in tiles: full logits never exist, forward or backward.

A head is (weight, bias): weight (vocab, width), or None where the "hidden states" are logits already; bias (vocab,) or None.
The backward pass computes each tile's logits again; hidden sizes are small beside vocabularies, so that costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

TILE_BYTES = 8 * 2**20
WHOLE = 2
"""Up to so many tiles the logits are kept instead of computed twice: at that size time matters more than memory."""


class Head(NamedTuple):
    """The output head of a model: logits = hidden @ weight.T + bias. Without a weight the hidden states are the logits."""

    weight: Tensor | None
    bias: Tensor | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., vocab) from (..., width), at least float32."""
        if self.weight is None:
            out = hidden
        else:
            out = hidden @ self.weight.to(hidden.dtype).T
        out = out if out.dtype == torch.float64 else out.float()
        return out if self.bias is None else out + self.bias

    def width(self, hidden: Tensor) -> int:
        """The size of the vocabulary."""
        return hidden.shape[-1] if self.weight is None else self.weight.shape[0]


def rows_per_tile(vocab: int, tile_bytes: int, itemsize: int = 4) -> int:
    """How many tokens' logits fit into a tile; at least one."""
    return max(1, tile_bytes // (vocab * itemsize))


def label_log_probs(hidden: Tensor, head: Head, labels: Tensor, *, tile_bytes: int = TILE_BYTES) -> Tensor:
    """log p(label), (tokens,), float32 or better."""
    tokens, vocab = hidden.shape[0], head.width(hidden)
    if head.weight is None or tokens * vocab * 4 <= WHOLE * tile_bytes:
        logits = head.logits(hidden)
        return logits.gather(-1, labels[:, None]).squeeze(-1) - torch.logsumexp(logits, -1)
    return _LabelLogProbs.apply(hidden, head.weight, head.bias, labels, rows_per_tile(vocab, tile_bytes))  # pyright: ignore[reportReturnType]


class _LabelLogProbs(torch.autograd.Function):
    """The gradient of log p(label) with respect to the logits is onehot - p, so the backward pass needs only the normalisers."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, rows: int) -> Tensor:
        head = Head(weight, bias)
        values, norms = [], []
        for part, label in zip(hidden.split(rows), labels.split(rows), strict=True):
            logits = head.logits(part)
            norms.append(torch.logsumexp(logits, -1))
            values.append(logits.gather(-1, label[:, None]).squeeze(-1) - norms[-1])
        ctx.save_for_backward(hidden, weight, bias, labels, torch.cat(norms))
        ctx.rows = rows
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, labels, norms = ctx.saved_tensors
        head, rows = Head(weight, bias), ctx.rows
        sums = _Gradients(ctx, hidden, weight, bias)
        pieces = zip(hidden.split(rows), labels.split(rows), norms.split(rows), upstream[0].split(rows), strict=True)
        for part, label, norm, charge in pieces:
            slope = head.logits(part).sub_(norm[:, None]).exp_().mul_(-charge[:, None])
            slope.scatter_add_(-1, label[:, None], charge[:, None].to(slope.dtype))
            sums.add(part, slope)
        return (*sums.result(), None, None)


class _Gradients:
    """Sums the gradients of hidden states, weight and bias over tiles, from the gradients of the logits."""

    def __init__(self, ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self._hidden: list[Tensor] | None = [] if ctx.needs_input_grad[0] else None
        wide = torch.promote_types(weight.dtype, torch.float32)
        self._matrix = torch.zeros_like(weight, dtype=wide) if ctx.needs_input_grad[1] else None
        self._bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        self._kind = hidden.dtype

    def add(self, part: Tensor, slope: Tensor) -> None:
        narrow = slope.to(self._kind)
        if self._hidden is not None:
            self._hidden.append(narrow @ self._weight.to(self._kind))
        narrow, part = narrow.flatten(0, -2), part.flatten(0, -2)
        if self._matrix is not None:
            if self._matrix.dtype == self._kind:
                self._matrix.addmm_(narrow.T, part)
            else:
                self._matrix += narrow.T @ part
        if self._bias is not None:
            self._bias += slope.flatten(0, -2).sum(0)

    def result(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        hidden = torch.cat(self._hidden) if self._hidden is not None else None
        matrix = self._matrix.to(self._weight.dtype) if self._matrix is not None else None
        return hidden, matrix, self._bias


Rowwise = Callable[..., Tensor]
"""(logits tile, teacher logits tile or nothing, further tiles) -> one value per row; rows must not look at one another."""


def by_tile(
    function: Rowwise,
    hidden: Tensor,
    head: Head,
    teacher: tuple[Tensor, Head] | None = None,
    extras: Sequence[Tensor] = (),
    *,
    own: Sequence[Tensor] = (),
    tile_bytes: int = TILE_BYTES,
) -> Tensor:
    """`function(logits, [teacher logits,] *extras)` for all tokens, (tokens,). Gradients reach `hidden`, its head and what the function
    owns, never the teacher.

    `hidden` is (tokens, width), or (tokens, n, width) for a function of n neighbouring places; `extras` have one row per token;
    `own` the parameters that the function holds.
    """
    tokens, vocab = hidden.shape[0], head.width(hidden) * hidden[:1, ..., 0].numel()
    if head.weight is None or tokens * vocab * 4 <= WHOLE * tile_bytes:
        return function(head.logits(hidden), *_teacher_tile(teacher, slice(None)), *extras)
    rest = (function, teacher, tuple(extras), rows_per_tile(vocab, tile_bytes))
    return _ByTile.apply(hidden, head.weight, head.bias, rest, *own)  # pyright: ignore[reportReturnType]


def _teacher_tile(teacher: tuple[Tensor, Head] | None, place: slice) -> tuple[Tensor, ...]:
    if teacher is None:
        return ()
    with torch.no_grad():
        return (teacher[1].logits(teacher[0][place]),)


class _ByTile(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, rest: Any, *own: Tensor) -> Tensor:
        head = Head(weight, bias)
        ctx.save_for_backward(hidden, weight, bias, *own)
        ctx.rest = rest
        function, teacher, extras, rows = rest
        values = []
        for start in range(0, hidden.shape[0], rows):
            place = slice(start, start + rows)
            values.append(function(head.logits(hidden[place]), *_teacher_tile(teacher, place), *(e[place] for e in extras)))
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, *own = ctx.saved_tensors
        function, teacher, extras, rows = ctx.rest
        head = Head(weight, bias)
        sums, owned = _Gradients(ctx, hidden, weight, bias), [torch.zeros_like(p) for p in own]
        for start in range(0, hidden.shape[0], rows):
            place = slice(start, start + rows)
            part = hidden[place]
            logits = head.logits(part).requires_grad_()
            with torch.enable_grad():
                values = function(logits, *_teacher_tile(teacher, place), *(e[place] for e in extras))
            slope, *mine = torch.autograd.grad(values, (logits, *own), upstream[0][place])
            sums.add(part, slope)
            for whole, piece in zip(owned, mine, strict=True):
                whole += piece
        return (*sums.result(), None, *owned)
