"""Texts as vectors: the mean of the last layer's states over the tokens of a text, the probabilities of a class head, or a reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.engine.plain import asked_plainly, equal_lengths


@torch.no_grad()
def classify_ids(module: Any, texts: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
    """The class probabilities of each text, in order. Rows of one length go together; equal texts are read once."""

    def ask(rows: Tensor) -> Tensor:
        return module(input_ids=rows).logits.float().softmax(-1)

    return _by_length(module, texts, ask)


@torch.no_grad()
def reward_ids(module: Any, texts: Sequence[Sequence[int]], *, head: Tensor | None = None) -> list[float]:
    """The reward of each text, in order: the one output of a class head, or (width, 1) `head` on the last layer's state at the text's last
    token. Equal texts are read once."""

    def by_class(rows: Tensor) -> Tensor:
        return module(input_ids=rows).logits.float()

    def by_head(rows: Tensor) -> Tensor:
        core = module.get_base_model() if hasattr(module, "get_base_model") else module
        assert head is not None
        return core.base_model(input_ids=rows).last_hidden_state[:, -1].float() @ head.to(rows.device)

    return [row[0] for row in _by_length(module, texts, by_class if head is None else by_head)]


@torch.no_grad()
def embed_ids(module: Any, texts: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
    """One vector per text, in order. Rows of one length go together, so no padding touches a mean. Equal texts are encoded once."""
    core = module.get_base_model() if hasattr(module, "get_base_model") else module
    encoder = core.base_model

    def ask(rows: Tensor) -> Tensor:
        return encoder(input_ids=rows).last_hidden_state.float().mean(1)

    return _by_length(module, texts, ask)


def _by_length(module: Any, texts: Sequence[Sequence[int]], ask: Callable[[Tensor], Tensor]) -> list[tuple[float, ...]]:
    unique = list(dict.fromkeys(tuple(ids) for ids in texts))
    device = next(module.parameters()).device
    found: dict[tuple[int, ...], tuple[float, ...]] = {}
    with asked_plainly(module):
        for group in equal_lengths(unique):
            answers = ask(torch.tensor([list(unique[i]) for i in group], device=device))
            for i, row in zip(group, answers.tolist(), strict=True):
                found[unique[i]] = tuple(row)
    return [found[tuple(ids)] for ids in texts]
