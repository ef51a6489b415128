"""Losses on single tokens. Nats; float32 inside; one value per token."""

from __future__ import annotations

from torch import Tensor


def negative_log_prob(log_probs: Tensor) -> Tensor:
    """-log p(label), (tokens,) from (tokens,)."""
    return -log_probs
