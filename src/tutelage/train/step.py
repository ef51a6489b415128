"""One micro-batch: the quantities that terms take, each computed once, and the charged sum of every term."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from importlib import import_module
from typing import Any

from torch import Tensor

from tutelage.errors import CapabilityError, InternalError
from tutelage.objectives.projection import by_tile, label_log_probs
from tutelage.objectives.term import Objective, Term
from tutelage.train.batch import Batch
from tutelage.train.network import Network
from tutelage.train.oracle import Oracle


def load(name: str) -> Callable[..., Any]:
    """The tensor function behind `module:function`."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


class Charge:
    """A term made ready: its function with the options bound."""

    __slots__ = ("function", "report", "term")

    def __init__(self, term: Term) -> None:
        options = dict(term.options)
        self.term = term
        self.function = partial(load(term.function), **options) if options else load(term.function)
        self.report = partial(load(term.report), **options) if term.report else None


class Measured:
    """What one forward pass and the targets say about a batch. Names are those of `objectives.QUANTITIES`."""

    def __init__(self, network: Network, batch: Batch, oracle: Oracle | None, *, tile_bytes: int) -> None:
        self.network, self.batch, self.oracle, self.tile_bytes = network, batch, oracle, tile_bytes

    def get(self, name: str) -> Tensor:
        find = _FINDERS.get(name)
        if find is None:
            raise InternalError("no way to measure this quantity", got=name)
        return find(self)

    @cached_property
    def states(self) -> Tensor:
        """(tokens, width)"""
        return self.network.states(self.batch)

    @cached_property
    def hidden(self) -> Tensor:
        """(charged, width)"""
        return self.states.index_select(0, self.batch.predicting)

    @cached_property
    def log_probs(self) -> Tensor:
        return label_log_probs(self.hidden, self.network.head(), self.batch.labels, tile_bytes=self.tile_bytes)

    @cached_property
    def reference_log_probs(self) -> Tensor:
        return self._ask("reference_log_probs")

    @cached_property
    def sequence_log_probs(self) -> Tensor:
        return self.batch.per_row(self.log_probs)

    @cached_property
    def reference_sequence_log_probs(self) -> Tensor:
        return self.batch.per_row(self.reference_log_probs)

    @cached_property
    def chosen(self) -> Tensor:
        return self.batch.of_role("chosen")

    @cached_property
    def rejected(self) -> Tensor:
        return self.batch.of_role("rejected")

    def _ask(self, name: str) -> Tensor:
        if self.oracle is None:
            raise CapabilityError(
                f"objective takes {name}, but the fit was given no targets", got=None, fix="pass targets=Reference(...) or the like"
            )
        return self.oracle.row_values(name, self.batch)


_FINDERS: Mapping[str, Callable[[Measured], Tensor]] = {
    "labels": lambda m: m.batch.labels,
    "log_probs": lambda m: m.log_probs,
    "reference_log_probs": lambda m: m.reference_log_probs,
    "hidden": lambda m: m.hidden,
    "sequence_log_probs": lambda m: m.sequence_log_probs,
    "reference_sequence_log_probs": lambda m: m.reference_sequence_log_probs,
    "sequence_tokens": lambda m: m.batch.row_tokens,
    "chosen_log_probs": lambda m: m.sequence_log_probs[m.chosen],
    "rejected_log_probs": lambda m: m.sequence_log_probs[m.rejected],
    "reference_chosen_log_probs": lambda m: m.reference_sequence_log_probs[m.chosen],
    "reference_rejected_log_probs": lambda m: m.reference_sequence_log_probs[m.rejected],
    "chosen_tokens": lambda m: m.batch.row_tokens[m.chosen],
    "rejected_tokens": lambda m: m.batch.row_tokens[m.rejected],
}


def values(charge: Charge, measured: Measured) -> Tensor:
    """One value per grain of the term."""
    takes = charge.term.takes
    if takes[0] == "logits":
        extras = [measured.get(name) for name in takes[1:]]
        return by_tile(charge.function, measured.hidden, measured.network.head(), extras=extras, tile_bytes=measured.tile_bytes)
    return charge.function(*[measured.get(name) for name in takes])


def total(charges: list[Charge], measured: Measured, counts: Mapping[int, float], progress: float) -> tuple[Tensor | None, list[float]]:
    """The charged sum of this batch, divided by the counts of the whole window; and each term's share of it, unweighted, as numbers.

    `counts` has one entry per term, by its place. A term that has nothing to charge in the window adds nothing.
    """
    loss: Tensor | None = None
    parts: list[float] = []
    for place, charge in enumerate(charges):
        if not counts[place]:
            parts.append(0.0)
            continue
        mean = (values(charge, measured) * measured.batch.weights(charge.term)).sum() / counts[place]
        parts.append(mean.item())
        weighed = mean * charge.term.weight_at(progress)
        loss = weighed if loss is None else loss + weighed
    return loss, parts


def charges_of(objective: Objective) -> list[Charge]:
    return [Charge(term) for term in objective.terms]
