"""Attention for rows that lie one after another: each attends to itself only, and nothing but attention ever sees padding.

Queries, keys and values are laid into a (rows, longest) grid just for the attention kernel; with padding on the right, causality alone
keeps real tokens from seeing it, so no mask is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NAME = "tutelage_segments"


class Unpackable(Exception):
    """An attention layer asks for something that segments cannot give; the network then pads."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Where the tokens of a packed sequence lie in the grid."""

    rows: int
    longest: int
    places: Tensor | None
    """(tokens,) grid place of each token, the first one where it has several; None where the grid is the sequence."""
    again: tuple[tuple[Tensor, Tensor], ...] = ()
    """Further places of shared tokens: (tokens, places) pairs, each naming a token once at most."""

    def fill(self, grid: Tensor, flat: Tensor) -> Tensor:
        """`grid` (places, ...) with the tokens of `flat` (tokens, ...) in place; in place."""
        grid.index_copy_(0, self.places, flat)  # pyright: ignore[reportArgumentType]
        for tokens, places in self.again:
            grid.index_copy_(0, places, flat.index_select(0, tokens))
        return grid


class _ToGrid(torch.autograd.Function):
    """(tokens, width) -> (places, width). Copies both ways: indexing's own backward pass would add where almost nothing collides."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, segments: Segments) -> Tensor:
        ctx.segments = segments
        return segments.fill(flat.new_zeros(segments.rows * segments.longest, flat.shape[1]), flat)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        segments: Segments = ctx.segments
        slope = upstream[0].index_select(0, segments.places)  # pyright: ignore[reportArgumentType]
        for tokens, places in segments.again:
            part = slope.index_select(0, tokens) + upstream[0].index_select(0, places)
            slope.index_copy_(0, tokens, part)
        return slope, None


class _FromGrid(torch.autograd.Function):
    """(places, width) -> (tokens, width)."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = grid.shape[0]
        return grid.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        return upstream[0].new_zeros(ctx.size, upstream[0].shape[1]).index_copy_(0, places, upstream[0]), None


def segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    segments: Segments | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """In the shape transformers expects: query (1, heads, tokens, size) -> (1, tokens, heads, size)."""
    if segments is None:
        raise Unpackable("the architecture does not hand its options down to attention")
    for name in ("sliding_window", "softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise Unpackable(f"attention with {name}")
    if not getattr(module, "is_causal", True):
        raise Unpackable("attention that is not causal")
    out = F.scaled_dot_product_attention(
        _grid(query, segments),
        _grid(key, segments),
        _grid(value, segments),
        is_causal=True,
        scale=scaling,
        dropout_p=dropout,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    flat = out.transpose(1, 2).reshape(segments.rows * segments.longest, -1)
    if segments.places is not None:
        flat = _FromGrid.apply(flat, segments.places)
    return flat.view(1, -1, query.shape[1], value.shape[-1]), None  # pyright: ignore[reportOptionalMemberAccess]


def _grid(states: Tensor, segments: Segments) -> Tensor:
    """(1, heads, tokens, size) -> (rows, heads, longest, size)."""
    _, heads, tokens, size = states.shape
    flat = states.transpose(1, 2).reshape(tokens, heads * size)
    if segments.places is not None:
        flat = _ToGrid.apply(flat, segments)
    return flat.view(segments.rows, segments.longest, heads, size).transpose(1, 2)  # pyright: ignore[reportOptionalMemberAccess]


def register() -> None:
    """Make the attention known to transformers under `NAME`. Doing it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None
