"""Targets at work: what a frozen model says about the rows of a micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from tutelage.errors import DataError, InternalError
from tutelage.objectives.projection import Head, by_tile, label_log_probs
from tutelage.objectives.tails import top_k
from tutelage.records import ModelRef
from tutelage.train.batch import Batch
from tutelage.train.network import Network
from tutelage.train.vocabulary import SharedVocabulary, check_ends, shared_vocabulary
from tutelage.train.window import Group, Row

if TYPE_CHECKING:
    from tutelage.train.feeds import Site
    from tutelage.train.targets import Asking

_ASKING = 4
"""A frozen pass keeps nothing for a backward pass, so it takes this many times the tokens of a training pass."""


class Oracle(Protocol):
    def prepare(self, groups: Sequence[Group]) -> None:
        """Called once, before the first step, with all that is known by then (nothing, for rows made on the way)."""
        ...

    def row_values(self, name: str, batch: Batch) -> Tensor:
        """The quantity `name` for the charged tokens of the batch, in their order."""
        ...

    def logits(self, batch: Batch) -> tuple[Tensor, Head]:
        """The teacher's hidden states at the charged tokens and its head, cut to the shared ids."""
        ...

    @property
    def shared(self) -> SharedVocabulary | None:
        """The ids that the student is compared on."""
        ...

    @property
    def is_student(self) -> bool:
        """Whether the reference is the student as it was before the first step: its log-probabilities are then the student's own."""
        ...

    @property
    def width(self) -> int:
        """Of the teacher's hidden states."""
        ...


class _Silent:
    """What an oracle does not know."""

    def prepare(self, groups: Sequence[Group]) -> None:
        pass

    def row_values(self, name: str, batch: Batch) -> Tensor:
        raise InternalError("targets cannot tell this quantity", got=name)

    def logits(self, batch: Batch) -> tuple[Tensor, Head]:
        raise InternalError("targets have no logits", got=type(self).__name__)

    @property
    def shared(self) -> SharedVocabulary | None:
        return None

    @property
    def is_student(self) -> bool:
        return False

    @property
    def width(self) -> int:
        raise InternalError("targets have no hidden states", got=type(self).__name__)


class _PerRow(_Silent):
    """Values kept per row where the rows are known beforehand, computed on the spot where not."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._known: dict[str, tuple[Tensor, ...]] = {}
        self._last: tuple[Batch, dict[str, tuple[Tensor, ...]]] | None = None

    def _network(self, *, before: bool) -> Network:
        raise NotImplementedError

    def _ask(self, network: Network, batch: Batch) -> tuple[Tensor, ...]:
        """Tensors with one row per charged token."""
        raise NotImplementedError

    def prepare(self, groups: Sequence[Group]) -> None:
        if groups:
            self._known.update(self._asked(self._network(before=True), [r for g in groups for r in g.rows]))

    def of(self, batch: Batch, place: int) -> Tensor:
        if self._last is None or self._last[0] is not batch:  # several quantities of one batch are asked for once
            missing = [r for r in batch.rows if r.key not in self._known]
            self._last = batch, self._asked(self._network(before=False), missing) if missing else {}
        found = self._last[1]
        return torch.cat([(found.get(r.key) or self._known[r.key])[place] for r in batch.rows])

    def _asked(self, network: Network, rows: Sequence[Row]) -> dict[str, tuple[Tensor, ...]]:
        return by_row(network, rows, micro_tokens=self._site.settings.micro_tokens * _ASKING, ask=self._ask)


class ReferenceOracle(_PerRow):
    """Reference log-probabilities. Another model than the student is charged to its role for what it reads."""

    def __init__(self, ref: ModelRef | None, site: Site, *, role: str = "") -> None:
        super().__init__(site)
        self._ref, self._role = ref, role
        self._open: Network | None = None

    def row_values(self, name: str, batch: Batch) -> Tensor:
        return self.of(batch, 0)

    def _ask(self, network: Network, batch: Batch) -> tuple[Tensor, ...]:
        if self._ref is not None and not self.is_student:
            self._site.reads(self._ref, self._role, batch.rows)
        return (log_probs(network, batch),)

    @property
    def is_student(self) -> bool:
        return self._ref is None or self._ref.digest == self._site.digest

    def _network(self, *, before: bool) -> Network:
        """Before the first step the student may be its own reference; later a frozen copy is."""
        if before and self.is_student:
            return self._site.network
        if self._open is None:
            from tutelage.train.opening import open_frozen

            model = self._site.model if self.is_student else Path(str(self._ref.path if self._ref else None))
            _, self._open, _ = open_frozen(model, self._site.settings, device=self._site.network.device)
        return self._open


class _Teaching(_PerRow):
    """What all oracles with a teacher share: the open network and the ids both models mean the same by."""

    def __init__(self, ref: ModelRef | None, site: Site, *, asked: Asking | None = None, role: str = "") -> None:
        """Without a `ref` the teacher is the live student. `role` is charged for what is read."""
        from tutelage.train.opening import open_frozen

        super().__init__(site)
        self._ref, self._role = ref, role
        if ref is None:
            self._rendering, self.network, self._context = site.rendering, site.network, site.context_tokens
            self._shared = None
        else:
            self._rendering, self.network, self._context = open_frozen(Path(str(ref.path)), site.settings, device=site.network.device)
            self._shared = shared_vocabulary(site.rendering.tokenizer, self._rendering.tokenizer)
            check_ends(site.rendering, self._rendering)
        self._asked_instead = asked
        self._heads: dict[str, list[int]] = {}

    @property
    def shared(self) -> SharedVocabulary | None:
        return self._shared

    @property
    def width(self) -> int:
        return self.network.width

    def _network(self, *, before: bool) -> Network:
        return self.network

    def heard(self, batch: Batch) -> Batch:
        """The batch as the teacher now reads it: the same charged tokens in the same order, behind its own prompts where it has some."""
        if self._asked_instead is None:
            seen = batch
        else:
            groups = [replace(g, rows=tuple(self._under_own_prompt(r) for r in g.rows)) for g in batch.groups]
            seen = Batch(groups, batch.device)
        self._readable(seen)
        if self._ref is not None:
            self._site.reads(self._ref, self._role, seen.rows)
        return seen

    def _under_own_prompt(self, row: Row) -> Row:
        head = self._heads.get(row.prompt)
        if head is None:
            assert self._asked_instead is not None
            head = self._heads[row.prompt] = self._rendering.prompt_ids(self._asked_instead(self._site.prompts[row.prompt]))
        charged = tuple(i - row.start + len(head) for i in row.charged)
        return replace(row, ids=(*head, *row.ids[row.start :]), charged=charged, start=len(head))

    def _readable(self, batch: Batch) -> None:
        longest = max(batch.lengths)
        if self._context is not None and longest > self._context:
            raise DataError(
                "row is longer than the teacher's context",
                got=f"{longest} of {self._context} tokens",
                fix="set context_tokens in the fit's settings to what the teacher can read, or use another teacher",
            )
        foreign, own = self._shared.foreign if self._shared is not None else (), self._asked_instead is not None
        if foreign and (found := foreign.intersection(i for r in batch.rows for i in (r.ids[r.start :] if own else r.ids))):
            raise DataError(
                "row holds tokens that the teacher does not have", got=sorted(found)[:5], fix="leave the student's own special tokens out"
            )

    def states(self, batch: Batch) -> Tensor:
        seen = self.heard(batch)
        with self.network.frozen():
            return self.network.states(seen).index_select(0, seen.predicting)


class TeacherOracle(_Teaching):
    """Everything about the teacher, in the step; the hidden states of one batch are computed once."""

    def __init__(self, ref: ModelRef | None, site: Site, *, asked: Asking | None = None, role: str = "", over: str = "") -> None:
        super().__init__(ref, site, asked=asked, role=role)
        self._over = over
        self._read: tuple[Batch, Tensor] | None = None

    def prepare(self, groups: Sequence[Group]) -> None:
        pass  # distributions of all rows would not fit; they are made in the step

    def _states(self, batch: Batch) -> Tensor:
        if self._read is None or self._read[0] is not batch:
            self._read = (batch, self._states_over(batch))
        return self._read[1]

    def _states_over(self, batch: Batch) -> Tensor:
        """Zeros for rows that are not the teacher's to read; nothing is charged there, so what they come to counts for nothing."""
        mine = [g for g in (replace(g, rows=tuple(r for r in g.rows if self._over in ("", r.role))) for g in batch.groups) if g.rows]
        if sum(len(g.rows) for g in mine) == len(batch.rows):
            return self.states(batch)
        if not mine:
            return torch.zeros(len(batch.labels), self.network.states_width, device=batch.device)
        read = self.states(Batch(mine, batch.device))
        places = torch.tensor([i for i, o in enumerate(batch.owner.tolist()) if batch.rows[o].role == self._over], device=batch.device)
        return read.new_zeros(len(batch.labels), read.shape[1]).index_copy(0, places, read)

    def logits(self, batch: Batch) -> tuple[Tensor, Head]:
        return self.network.projected(self._states(batch), self._shared)

    def row_values(self, name: str, batch: Batch) -> Tensor:
        if name == "teacher_hidden":
            return self._states(batch).float()
        with torch.no_grad():
            return label_log_probs(*self.network.projected(self._states(batch), None), batch.labels)


class SampledOracle(_Teaching):
    """The teacher's log-probabilities of the labels."""

    def row_values(self, name: str, batch: Batch) -> Tensor:
        return self.of(batch, 0)

    def _ask(self, network: Network, batch: Batch) -> tuple[Tensor, ...]:
        return (log_probs(network, self.heard(batch)),)


class TopKOracle(_Teaching):
    """The teacher's likeliest ids, as places among the shared ids, and their log-probabilities."""

    def __init__(self, ref: ModelRef, k: int, site: Site, *, asked: Asking | None = None, role: str = "") -> None:
        super().__init__(ref, site, asked=asked, role=role)
        self._k = k

    def row_values(self, name: str, batch: Batch) -> Tensor:
        return self.of(batch, ("teacher_top_ids", "teacher_top_log_probs").index(name))

    def _ask(self, network: Network, batch: Batch) -> tuple[Tensor, ...]:
        hidden, head = network.projected(self.states(batch), self._shared)
        ids = by_tile(lambda z: top_k(z, self._k)[0], hidden, head)
        return ids, by_tile(lambda z: top_k(z, self._k)[1], hidden, head)


class JoinedOracle(_Silent):
    """Each quantity from whoever offers it."""

    def __init__(self, parts: Sequence[tuple[frozenset[str], Oracle]]) -> None:
        self._parts = parts

    def prepare(self, groups: Sequence[Group]) -> None:
        for _, oracle in self._parts:
            oracle.prepare(groups)

    def _who(self, name: str) -> Oracle:
        return next(oracle for offers, oracle in self._parts if name in offers)

    def row_values(self, name: str, batch: Batch) -> Tensor:
        return self._who(name).row_values(name, batch)

    def logits(self, batch: Batch) -> tuple[Tensor, Head]:
        return self._who("teacher_logits").logits(batch)

    @property
    def is_student(self) -> bool:
        return any(oracle.is_student for _, oracle in self._parts)

    @property
    def shared(self) -> SharedVocabulary | None:
        return next((o.shared for _, o in self._parts if o.shared is not None), None)

    @property
    def width(self) -> int:
        return self._who("teacher_hidden").width


def log_probs(network: Network, batch: Batch) -> Tensor:
    """(charged,) log-probabilities of the labels."""
    hidden = network.states(batch).index_select(0, batch.predicting)
    return label_log_probs(*network.projected(hidden, None), batch.labels)


def by_row(
    network: Network, rows: Sequence[Row], *, micro_tokens: int, ask: Callable[[Network, Batch], tuple[Tensor, ...]]
) -> dict[str, tuple[Tensor, ...]]:
    """What `ask` says of every row, by row key. Rows of like length are asked together."""
    waiting = sorted({r.key: r for r in rows}.values(), key=lambda r: len(r.ids))
    found: dict[str, tuple[Tensor, ...]] = {}
    with network.frozen():
        start = 0
        while start < len(waiting):
            stop, size = start, 0
            while stop < len(waiting) and (stop == start or size + len(waiting[stop].ids) <= micro_tokens):
                size += len(waiting[stop].ids)
                stop += 1
            batch = Batch([Group(rows=(r,)) for r in waiting[start:stop]], network.device)
            lengths = [len(r.charged) for r in batch.rows]
            pieces = [answer.split(lengths) for answer in ask(network, batch)]
            for i, row in enumerate(batch.rows):
                found[row.key] = tuple(p[i].clone() for p in pieces)
            start = stop
    return found
