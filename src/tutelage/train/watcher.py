"""Early stopping at work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import DataError
from tutelage.train.feeds import Site, group_of
from tutelage.train.watch import Watch


class Watcher:
    """Remembers the lowest value and the weights that had it."""

    def __init__(self, watch: Watch, site: Site, parameters: Sequence[nn.Parameter]) -> None:
        self._watch, self._parameters = watch, parameters
        self.groups = [g for g in (group_of(r, site) for r in watch.records) if g is not None]
        if not self.groups:
            raise DataError("none of the watched records can be used", got=f"{len(watch.records)} records", fix="watch on other records")
        self._best = math.inf
        self._since = 0
        self._weights = [p.detach().clone() for p in parameters]

    def due(self, step: int) -> bool:
        return step % self._watch.every == 0

    def see(self, value: float) -> float:
        if value < self._best - self._watch.least:
            self._best, self._since = value, 0
            for kept, parameter in zip(self._weights, self._parameters, strict=True):
                kept.copy_(parameter.detach())
        else:
            self._since += 1
        return value

    @property
    def over(self) -> bool:
        return self._since >= self._watch.patience

    def put_back_best(self) -> None:
        if math.isfinite(self._best):
            with torch.no_grad():
                for kept, parameter in zip(self._weights, self._parameters, strict=True):
                    parameter.copy_(kept)

    def tensors(self) -> dict[str, Tensor]:
        return {f"best.{i}": w for i, w in enumerate(self._weights)}

    def state(self) -> dict[str, Any]:
        return {"best": self._best if math.isfinite(self._best) else None, "since": self._since}

    def restore(self, state: dict[str, Any]) -> None:
        self._best = math.inf if state["best"] is None else state["best"]
        self._since = state["since"]
