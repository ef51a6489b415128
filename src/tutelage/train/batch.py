"""A micro-batch as tensors: rows one after another, with the place, label and weight of every charged token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from tutelage.objectives.term import Term
from tutelage.train.attention import Segments
from tutelage.train.window import Group, Row, charges

_LEAST = 4
"""Shorter common prompts are not worth the bookkeeping."""


def _common(rows: Sequence[Row]) -> int:
    """How many leading tokens all rows of a group share and none charges."""
    if len(rows) < 2 or any(not r.charged for r in rows):
        return 0
    length = min(r.charged[0] for r in rows)
    head = rows[0].ids[:length]
    for row in rows[1:]:
        if row.ids[:length] != head:
            length = next(i for i in range(length) if row.ids[i] != head[i])
            head = head[:length]
    return length if length >= _LEAST else 0


class Batch:
    """The groups of one forward pass. Tokens are in packed order everywhere; padding exists inside a network at most."""

    def __init__(self, groups: Sequence[Group], device: torch.device, *, share: bool = False) -> None:
        """`share`: the prompt that the rows of a group have in common is computed once."""
        self.groups = tuple(groups)
        self.rows: tuple[Row, ...] = tuple(r for g in groups for r in g.rows)
        self.device = device
        self.lengths = [len(r.ids) for r in self.rows]
        ids: list[int] = []
        positions: list[int] = []
        predicting: list[int] = []
        labels: list[int] = []
        self._last: list[int] = []
        self._copies: list[list[tuple[int, int, int]]] = []  # by number of the copy: (row, first place of the prompt, its length)
        number = 0
        for group in groups:
            common, first = _common(group.rows) if share else 0, len(ids)
            for copy, row in enumerate(group.rows):
                held = common if copy else 0
                shift = len(ids) - held
                ids.extend(row.ids[held:])
                positions.extend(range(held, len(row.ids)))
                for i in row.charged:
                    predicting.append(shift + i - 1 if i > held else first + i - 1)
                    labels.append(row.ids[i])
                self._last.append(len(ids) - 1)
                if held:
                    while len(self._copies) < copy:
                        self._copies.append([])
                    self._copies[copy - 1].append((number, first, held))
                number += 1
        self.ids = torch.tensor(ids, device=device)
        """(tokens,)"""
        self.positions = torch.tensor(positions, device=device)
        """(tokens,) counted anew in every row."""
        self.predicting = torch.tensor(predicting, dtype=torch.long, device=device)
        """(charged,) place of the hidden state that predicts each charged token."""
        self.labels = torch.tensor(labels, dtype=torch.long, device=device)
        """(charged,)"""
        self.spans = torch.tensor([w for r in self.rows for w in r.spans], dtype=torch.float32, device=device)
        charged = [len(r.charged) for r in self.rows]
        self.owner = torch.tensor([i for i, n in enumerate(charged) for _ in range(n)], dtype=torch.long, device=device)
        """(charged,) number of the row."""

    @cached_property
    def row_weights(self) -> Tensor:
        """(rows,)"""
        return torch.tensor([r.weight for r in self.rows], dtype=torch.float32, device=self.device)

    @cached_property
    def row_tokens(self) -> Tensor:
        """(rows,) number of charged tokens."""
        return torch.tensor([float(len(r.charged)) for r in self.rows], device=self.device)

    @cached_property
    def last(self) -> Tensor:
        """(rows,) place of each row's last token."""
        return torch.tensor(self._last, device=self.device)

    @cached_property
    def segments(self) -> Segments:
        longest = max(self.lengths)
        if min(self.lengths) == longest and not self._copies:
            return Segments(len(self.rows), longest, None)
        return self.grid("right")

    def grid(self, side: str) -> Segments:
        """Where the tokens lie in a grid of (rows, longest) padded on that side; a shared prompt lies in every row of its group."""
        longest = max(self.lengths)
        starts = [i * longest + (0 if side == "right" else longest - n) for i, n in enumerate(self.lengths)]
        shared = {row: held for copies in self._copies for row, _, held in copies}
        own = [start + i for row, (start, n) in enumerate(zip(starts, self.lengths, strict=True)) for i in range(shared.get(row, 0), n)]
        again = []
        for copies in self._copies:
            tokens = [first + i for _, first, held in copies for i in range(held)]
            places = [starts[row] + i for row, _, held in copies for i in range(held)]
            again.append((torch.tensor(tokens, device=self.device), torch.tensor(places, device=self.device)))
        return Segments(len(self.rows), longest, torch.tensor(own, device=self.device), tuple(again))

    @cached_property
    def row_labels(self) -> Tensor:
        """(rows,) class index; `checks` has seen to it that all have one."""
        return torch.tensor([r.label for r in self.rows], device=self.device)

    @cached_property
    def margins(self) -> Tensor:
        """(pairs,)"""
        return torch.tensor([g.margin for g in self.groups], device=self.device)

    def row_fact(self, name: str) -> Tensor:
        """(rows,) a number that is the same for all charged tokens of a row; 0 for rows without it."""
        return torch.tensor([r.facts[name][0] if r.charged and name in r.facts else 0.0 for r in self.rows], device=self.device)

    def of_role(self, role: str) -> Tensor:
        """(rows of that role,) their numbers, in order."""
        return torch.tensor([i for i, r in enumerate(self.rows) if r.role == role], dtype=torch.long, device=self.device)

    def per_row(self, values: Tensor) -> Tensor:
        """(rows,) sums of (charged,) values."""
        return values.new_zeros(len(self.rows)).index_add(0, self.owner, values)

    def weights(self, term: Term) -> Tensor:
        """One weight per value of the term; divided by `window.count` they make the mean that the term's unit names."""
        if term.grain in ("pair", "group"):
            return torch.ones(len(self.groups), device=self.device)
        mine = [1.0 if not term.over or r.role == term.over else 0.0 for r in self.rows]
        whole = self.row_weights if not term.over else self.row_weights * torch.tensor(mine, device=self.device)
        if term.grain == "sequence":
            return whole
        if term.unit == "sequence":
            whole = whole / torch.tensor([sum(abs(s) for s in charges(r, term)) or 1.0 for r in self.rows], device=self.device)
        spans = self.spans if not term.where else torch.tensor([w for r in self.rows for w in charges(r, term)], device=self.device)
        return spans * whole[self.owner]

    def fact(self, name: str) -> Tensor:
        """(charged,) a number per charged token that came with the rows; 0 in rows without it, which terms of other roles charge."""
        values = [x for r in self.rows for x in r.facts.get(name, (0.0,) * len(r.charged))]
        return torch.tensor(values, dtype=torch.float32, device=self.device)
