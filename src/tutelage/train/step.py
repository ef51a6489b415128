"""One micro-batch: the quantities that terms take, each computed once, and the charged sum of every term."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import CapabilityError, InternalError
from tutelage.objectives.projection import Head, by_tile, label_log_probs
from tutelage.objectives.term import Objective, Term
from tutelage.train.batch import Batch
from tutelage.train.checks import is_policy
from tutelage.train.network import Network
from tutelage.train.oracle import Oracle, log_probs
from tutelage.train.window import DRAWN_AT, Group, Row


def load(name: str) -> Callable[..., Any]:
    """The tensor function behind `module:function`."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


class Charge(nn.Module):
    """A term made ready: its function with the options bound, and the parameters it owns."""

    def __init__(self, term: Term, sizes: Callable[[str], int], device: torch.device) -> None:
        super().__init__()
        options = dict(term.options)
        self.term = term
        self._function = partial(load(term.function), **options)
        self.report = partial(load(term.report), **options) if term.report else None
        self.own = nn.ParameterDict()
        for own in term.own:
            rows, columns = (int(n) if n.isdigit() else sizes(n) for n in (own.rows, own.columns))
            self.own[own.name] = nn.Parameter(own.start * torch.randn(rows, columns).to(device) / rows**0.5)

    def values(self, *quantities: Tensor) -> Tensor:
        """One value per grain."""
        return self._function(*quantities, **self.own) if self.own else self._function(*quantities)


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
    def wide_hidden(self) -> Tensor:
        return self.hidden if self.hidden.dtype == torch.float64 else self.hidden.float()

    @cached_property
    def log_probs(self) -> Tensor:
        hidden, head = self.network.projected(self.hidden, None)
        return label_log_probs(hidden, head, self.batch.labels, tile_bytes=self.tile_bytes)

    @cached_property
    def drawn_log_probs(self) -> Tensor:
        """As `log_probs`, of the policy that the rows were drawn from: the student at their temperature, where they name one."""
        named = self.batch.fact(DRAWN_AT)
        if not ((named != 0) & (named != 1)).any():
            return self.log_probs
        at = torch.where(named == 0, 1.0, named)
        found = self.log_probs.new_zeros(len(at))
        for temperature in at.unique().tolist():
            places = (at == temperature).nonzero().squeeze(-1)
            hidden, head = self.network.projected(self.hidden.index_select(0, places) / temperature, None)
            cooled = Head(head.weight, None if head.bias is None else head.bias / temperature)
            told = label_log_probs(hidden, cooled, self.batch.labels.index_select(0, places), tile_bytes=self.tile_bytes)
            found = found.index_copy(0, places, told)
        return found

    @cached_property
    def behaviour_log_probs(self) -> Tensor:
        """As they came with the rows, or the policy's own where that one is only known in the training pass; 0 stays unknown."""
        known, named = self.batch.fact("behaviour_log_probs"), self.batch.fact(DRAWN_AT)
        if not named.any():
            return known
        return torch.where((named > 0) & (known < 0), self.drawn_log_probs.detach(), known)

    @cached_property
    def shared_labels(self) -> Tensor:
        shared = self.oracle.shared if self.oracle is not None else None
        if shared is None or shared.ids is None:
            return self.batch.labels
        return torch.searchsorted(torch.tensor(shared.ids, device=self.batch.device), self.batch.labels)

    @cached_property
    def reference_log_probs(self) -> Tensor:
        return self.ask("reference_log_probs")

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

    @cached_property
    def last(self) -> Tensor:
        """(rows, width) at each row's last token, at least float32."""
        last = self.states.index_select(0, self.batch.last)
        return last if last.dtype == torch.float64 else last.float()

    @cached_property
    def class_logits(self) -> Tensor:
        return self.network.row_logits(self.batch) if self.network.kind == "encoded" else self.network.scores(self.last)

    @cached_property
    def vectors(self) -> Tensor:
        """(rows, width) mean state over each row's tokens, at least float32."""
        wide = self.states if self.states.dtype == torch.float64 else self.states.float()
        return torch.stack([row.mean(0) for row in wide.split(self.batch.lengths)])

    @cached_property
    def mismatched_log_ratios(self) -> Tensor:
        """Each row's prompt with the next row's completion, under policy and reference, without gradients; zero for a row alone."""
        rows = self.batch.rows
        if len(rows) < 2:
            return torch.zeros(1, device=self.batch.device)
        crossed = Batch([Group(rows=(_crossed(a, b),)) for a, b in zip(rows, (*rows[1:], rows[0]), strict=True)], self.batch.device)
        with self.network.frozen():
            ratios = log_probs(self.network, crossed) - self._asked().row_values("reference_log_probs", crossed)
        return crossed.per_row(ratios)

    def ask(self, name: str) -> Tensor:
        return self._asked().row_values(name, self.batch)

    def teacher(self) -> tuple[Tensor, Head]:
        return self._asked().logits(self.batch)

    def _asked(self) -> Oracle:
        if self.oracle is None:
            raise CapabilityError("objective takes what only targets can tell, but the fit was given none", fix="pass targets=...")
        return self.oracle


def _crossed(one: Row, other: Row) -> Row:
    head, tail = one.ids[: one.charged[0]], other.ids[other.charged[0] :]
    places = tuple(range(len(head), len(head) + len(tail)))
    return Row(key=f"{one.key}|{other.key}", ids=head + tail, charged=places, spans=(1.0,) * len(tail))


_FINDERS: Mapping[str, Callable[[Measured], Tensor]] = {
    "labels": lambda m: m.batch.labels,
    "shared_labels": lambda m: m.shared_labels,
    "log_probs": lambda m: m.log_probs,
    "reference_log_probs": lambda m: m.reference_log_probs,
    "hidden": lambda m: m.wide_hidden,
    "sequence_log_probs": lambda m: m.sequence_log_probs,
    "reference_sequence_log_probs": lambda m: m.reference_sequence_log_probs,
    "sequence_tokens": lambda m: m.batch.row_tokens,
    "chosen_log_probs": lambda m: m.sequence_log_probs[m.chosen],
    "rejected_log_probs": lambda m: m.sequence_log_probs[m.rejected],
    "reference_chosen_log_probs": lambda m: m.reference_sequence_log_probs[m.chosen],
    "reference_rejected_log_probs": lambda m: m.reference_sequence_log_probs[m.rejected],
    "sequence_labels": lambda m: m.batch.row_labels,
    "class_logits": lambda m: m.class_logits,
    "vectors": lambda m: m.vectors,
    "mismatched_log_ratios": lambda m: m.mismatched_log_ratios,
    "chosen_scores": lambda m: m.class_logits[m.chosen, 0],
    "rejected_scores": lambda m: m.class_logits[m.rejected, 0],
    "chosen_hidden": lambda m: m.last[m.chosen],
    "rejected_hidden": lambda m: m.last[m.rejected],
    "margins": lambda m: m.batch.margins,
    "teacher_hidden": lambda m: m.ask("teacher_hidden"),
    "teacher_log_probs": lambda m: m.ask("teacher_log_probs"),
    "teacher_top_ids": lambda m: m.ask("teacher_top_ids"),
    "teacher_top_log_probs": lambda m: m.ask("teacher_top_log_probs"),
    "behaviour_log_probs": lambda m: m.behaviour_log_probs,
    "drawn_log_probs": lambda m: m.drawn_log_probs,
    "drawn_sequence_log_probs": lambda m: m.batch.per_row(m.drawn_log_probs),
    "advantages": lambda m: m.batch.fact("advantages"),
    "foreign": lambda m: m.batch.fact("foreign"),
    "sequence_advantages": lambda m: m.batch.row_fact("advantages"),
    "chosen_tokens": lambda m: m.batch.row_tokens[m.chosen],
    "rejected_tokens": lambda m: m.batch.row_tokens[m.rejected],
}


def _with_the_one_before(states: Tensor) -> Tensor:
    """(tokens, 2, width): each charged token's state behind that of the charged token before it. The first of a row stands behind another
    row's last; no mark of neighbours is on it."""
    return torch.stack([states.roll(1, 0), states], 1)


_VIEWS: Mapping[str, Callable[[Tensor], Tensor]] = {"logits": lambda states: states, "neighbour_logits": _with_the_one_before}
"""What a term that takes logits tile by tile looks at, made of the charged tokens' states."""


_OF_POLICY = {"log_probs": "drawn_log_probs", "sequence_log_probs": "drawn_sequence_log_probs"}
"""What a policy gradient takes in place of the student's plain log-probabilities."""


def values(charge: Charge, measured: Measured) -> Tensor:
    """One value per grain of the term. Whoever takes logits gets them tile by tile."""
    takes = charge.term.takes
    if is_policy(charge.term):
        takes = tuple(_OF_POLICY.get(name, name) for name in takes)
    view = _VIEWS.get(takes[0])
    if view is None:
        return charge.values(*[measured.get(name) for name in takes])
    shared = measured.oracle.shared if measured.oracle is not None else None
    hidden, head = measured.network.projected(measured.hidden, shared)
    teacher, extras = None, takes[1:]
    if f"teacher_{takes[0]}" in extras:
        states, theirs = measured.teacher()
        teacher = view(states), theirs
    others = [measured.get(name) for name in extras if name != f"teacher_{takes[0]}"]
    return by_tile(charge.values, view(hidden), head, teacher, others, own=list(charge.own.values()), tile_bytes=measured.tile_bytes)


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


def charges_of(objective: Objective, network: Network, oracle: Oracle | None) -> list[Charge]:
    def size(name: str) -> int:
        if name == "hidden":
            return network.width
        if oracle is None:
            raise CapabilityError(
                "a term's own parameters need the teacher's width, but the fit was given no targets", fix="pass targets=..."
            )
        return oracle.width

    for term in objective.terms:
        if {"hidden", "teacher_hidden"} <= set(term.takes) and not term.own and size("hidden") != size("teacher_hidden"):
            raise CapabilityError(
                f"term '{term.name}' compares hidden states of equal width",
                got=f"{size('hidden')} and {size('teacher_hidden')}",
                fix="use match_hidden_mse(), which trains a projection",
            )
    return [Charge(term, size, network.device) for term in objective.terms]
