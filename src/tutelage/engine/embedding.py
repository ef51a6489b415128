"""Texts as vectors: the mean of the last layer's states over the tokens of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tutelage.engine.plain import asked_plainly, equal_lengths


@torch.no_grad()
def embed_ids(module: Any, texts: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
    """One vector per text, in order. Rows of one length go together, so no padding touches a mean. Equal texts are encoded once."""
    unique = list(dict.fromkeys(tuple(ids) for ids in texts))
    device = next(module.parameters()).device
    found: dict[tuple[int, ...], tuple[float, ...]] = {}
    core = module.get_base_model() if hasattr(module, "get_base_model") else module
    encoder = core.base_model
    with asked_plainly(module):
        for group in equal_lengths(unique):
            states = encoder(input_ids=torch.tensor([list(unique[i]) for i in group], device=device)).last_hidden_state
            for i, vector in zip(group, states.float().mean(1).tolist(), strict=True):
                found[unique[i]] = tuple(vector)
    return [found[tuple(ids)] for ids in texts]
