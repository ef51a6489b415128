"""Targets at work: what a frozen model says about the rows of a micro-batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from tutelage.errors import InternalError
from tutelage.objectives.projection import label_log_probs
from tutelage.records import ModelRef
from tutelage.train.batch import Batch
from tutelage.train.network import Network
from tutelage.train.window import Group, Row

if TYPE_CHECKING:
    from tutelage.train.feeds import Site

_ASKING = 4
"""A frozen pass keeps nothing for a backward pass, so it takes this many times the tokens of a training pass."""


class Oracle(Protocol):
    def prepare(self, groups: Sequence[Group]) -> None:
        """Called once, before the first step, with all that is known by then (nothing, for rows made on the way)."""
        ...

    def row_values(self, name: str, batch: Batch) -> Tensor:
        """The quantity `name` for the charged tokens of the batch, in their order."""
        ...


class ReferenceOracle:
    """Reference log-probabilities, kept per row."""

    def __init__(self, ref: ModelRef | None, site: Site) -> None:
        self._ref, self._site = ref, site
        self._known: dict[str, Tensor] = {}

    def prepare(self, groups: Sequence[Group]) -> None:
        if groups:
            network = self._site.network if self._is_student() else self._open()
            self._known.update(log_probs_by_row(network, groups, micro_tokens=self._site.settings.micro_tokens * _ASKING))

    def row_values(self, name: str, batch: Batch) -> Tensor:
        if name != "reference_log_probs":
            raise InternalError("reference cannot tell this quantity", got=name)
        return torch.cat([self._of(row) for row in batch.rows])

    def _of(self, row: Row) -> Tensor:
        try:
            return self._known[row.key]
        except KeyError:
            raise InternalError("reference was never asked about this row", got=row.key) from None

    def _is_student(self) -> bool:
        return self._ref is None or self._ref.digest == self._site.digest

    def _open(self) -> Network:
        from tutelage.train.opening import open_frozen

        return open_frozen(Path(str(self._ref.path if self._ref else None)), self._site.settings, device=self._site.network.device)


def log_probs_by_row(network: Network, groups: Sequence[Group], *, micro_tokens: int) -> dict[str, Tensor]:
    """Log-probabilities of the charged tokens of every row, by row key. Rows of like length are asked together."""
    rows = sorted({r.key: r for g in groups for r in g.rows}.values(), key=lambda r: len(r.ids))
    found: dict[str, Tensor] = {}
    with network.frozen():
        start = 0
        while start < len(rows):
            stop, size = start, 0
            while stop < len(rows) and (stop == start or size + len(rows[stop].ids) <= micro_tokens):
                size += len(rows[stop].ids)
                stop += 1
            batch = Batch([Group(rows=(r,)) for r in rows[start:stop]], network.device)
            hidden = network.states(batch).index_select(0, batch.predicting)
            values = label_log_probs(hidden, network.head(), batch.labels)
            for row, part in zip(batch.rows, values.split([len(r.charged) for r in batch.rows]), strict=True):
                found[row.key] = part.clone()
            start = stop
    return found
