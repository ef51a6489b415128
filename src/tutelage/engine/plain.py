"""The same questions put to a torch module without sharing: any architecture that transformers can run, rows of equal length together.

Used where the attention of `attention.py` does not fit (sliding windows, score caps, states instead of caches), and as the yardstick.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tutelage.engine.tree import Ids

OURS = "tutelage_"
"""How the names of this package's attention functions begin."""
_ROWS = 64
"""Rows at once."""


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Inside, the module is in eval mode; afterwards it is as it was."""
    training = [part for part in module.modules() if part.training]
    try:
        module.eval()
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def asked_plainly(module: Any) -> Iterator[None]:
    """Inside, the module is in eval mode with an attention of transformers' own: one of ours (sharing, training) needs its own callers."""
    core = module.get_base_model() if hasattr(module, "get_base_model") else module
    before = str(core.config._attn_implementation)
    with evaluating(module):
        if not before.startswith(OURS):
            yield
            return
        try:
            core.set_attn_implementation("sdpa" if getattr(core, "_supports_sdpa", False) else "eager")
            yield
        finally:
            core.set_attn_implementation(before)


def equal_lengths(requests: Sequence[Ids], rows: int = _ROWS) -> Iterator[list[int]]:
    """Numbers of requests of one length, at most `rows` at a time."""
    by_length: dict[int, list[int]] = {}
    for index, ids in enumerate(requests):
        by_length.setdefault(len(ids), []).append(index)
    for _, group in sorted(by_length.items()):
        for start in range(0, len(group), rows):
            yield group[start : start + rows]


class PlainModule:
    """A module asked row by row, in batches without any padding."""

    def __init__(self, module: Any, *, vocabulary: int | None = None) -> None:
        self._module = module
        self._device = next(module.parameters()).device
        self._vocabulary = vocabulary

    def forward(self, ids: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits (rows, tokens, vocabulary) and the cache."""
        out = self._module(input_ids=ids, past_key_values=cache, use_cache=cache is not None)
        return out.logits[..., : self._vocabulary], cache

    def fresh_cache(self) -> Any:
        """None where the architecture keeps a state that rows cannot be taken out of; everything is then encoded anew each step."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

        core = self._module.get_base_model() if hasattr(self._module, "get_base_model") else self._module
        if getattr(core, "_is_stateful", False) or not getattr(core, "_supports_cache_class", True):
            return None
        cache = DynamicCache(config=core.config)
        kinds = {type(layer) for layer in cache.layers}
        return cache if kinds <= {DynamicLayer, DynamicSlidingWindowLayer} else None

    def score(self, requests: Sequence[Ids], ends: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        """As `SharedModule.score`."""
        for group in equal_lengths(requests):
            logits, _ = self.forward(torch.tensor([list(requests[i]) for i in group], device=self._device), None)
            yield group, torch.cat([row[-ends[i] - 1 : -1] for i, row in zip(group, logits, strict=True)])

    def branches(self, requests: Sequence[Ids], *, samples: int) -> Iterator[tuple[list[int], Tensor, PlainRows]]:
        """As `SharedModule.branches`."""
        for group in equal_lengths(requests, max(1, _ROWS // samples)):
            ids = torch.tensor([list(requests[i]) for i in group], device=self._device)
            logits, cache = self.forward(ids, self.fresh_cache())
            if cache is not None and samples > 1:
                cache.batch_repeat_interleave(samples)
            rows = PlainRows(self, cache, ids.repeat_interleave(samples, 0))
            yield [i for i in group for _ in range(samples)], logits[:, -1].repeat_interleave(samples, 0), rows


class PlainRows:
    """Rows that grow by one token at a time."""

    def __init__(self, module: PlainModule, cache: Any, ids: Tensor) -> None:
        self._module = module
        self._cache = cache
        self._ids = ids

    def feed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits (rows, vocabulary) after one more token. Positions follow from the lengths, which are equal."""
        del positions
        if self._cache is not None:
            return self._module.forward(tokens.unsqueeze(1), self._cache)[0][:, -1]
        self._ids = torch.cat([self._ids, tokens.unsqueeze(1)], 1)
        return self._module.forward(self._ids, None)[0][:, -1]

    def keep(self, index: Tensor) -> None:
        self._ids = self._ids.index_select(0, index)
        if self._cache is not None:
            self._cache.batch_select_indices(index)
