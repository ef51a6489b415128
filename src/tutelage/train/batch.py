"""A micro-batch as tensors: rows one after another, with the place, label and weight of every charged token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from tutelage.objectives.term import Term
from tutelage.train.attention import Segments
from tutelage.train.window import Group, Row


class Batch:
    """The groups of one forward pass. Tokens are in packed order everywhere; padding exists inside a network at most."""

    def __init__(self, groups: Sequence[Group], device: torch.device) -> None:
        self.groups = tuple(groups)
        self.rows: tuple[Row, ...] = tuple(r for g in groups for r in g.rows)
        self.device = device
        self.lengths = [len(r.ids) for r in self.rows]
        ids: list[int] = []
        places: list[int] = []
        spans: list[float] = []
        owner: list[int] = []
        for number, row in enumerate(self.rows):
            shift = len(ids) - 1
            places.extend([shift + i for i in row.charged])
            spans.extend(row.spans)
            owner.extend([number] * len(row.charged))
            ids.extend(row.ids)
        self.ids = torch.tensor(ids, device=device)
        """(tokens,)"""
        self.predicting = torch.tensor(places, dtype=torch.long, device=device)
        """(charged,) place of the hidden state that predicts each charged token."""
        self.spans = torch.tensor(spans, dtype=torch.float32, device=device)
        self.owner = torch.tensor(owner, dtype=torch.long, device=device)
        """(charged,) number of the row."""

    @cached_property
    def labels(self) -> Tensor:
        """(charged,)"""
        return self.ids[self.predicting + 1]

    @cached_property
    def positions(self) -> Tensor:
        """(tokens,) counted anew in every row."""
        return torch.cat([torch.arange(n, device=self.device) for n in self.lengths])

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
        return torch.tensor(self.lengths, device=self.device).cumsum(0) - 1

    @cached_property
    def segments(self) -> Segments:
        longest = max(self.lengths)
        if min(self.lengths) == longest:
            return Segments(len(self.rows), longest, None)
        return Segments(len(self.rows), longest, self.grid_places("right"))

    def grid_places(self, side: str) -> Tensor:
        """(tokens,) place of each token in a grid of (rows, longest) padded on that side."""
        longest = max(self.lengths)
        starts = [i * longest + (0 if side == "right" else longest - n) for i, n in enumerate(self.lengths)]
        return self.positions + torch.tensor(starts, device=self.device).repeat_interleave(torch.tensor(self.lengths, device=self.device))

    @cached_property
    def row_labels(self) -> Tensor:
        """(rows,) class index, 0 where a row has none."""
        return torch.tensor([r.label or 0 for r in self.rows], device=self.device)

    @cached_property
    def margins(self) -> Tensor:
        """(pairs,)"""
        return torch.tensor([g.margin for g in self.groups], device=self.device)

    def row_fact(self, name: str) -> Tensor:
        """(rows,) a number that is the same for all charged tokens of a row."""
        return torch.tensor([r.facts[name][0] if r.charged else 0.0 for r in self.rows], dtype=torch.float32, device=self.device)

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
            whole = whole / torch.tensor([sum(abs(s) for s in r.spans) or 1.0 for r in self.rows], device=self.device)
        return self.spans * whole[self.owner]

    def fact(self, name: str) -> Tensor:
        """(charged,) a number per charged token that came with the rows."""
        return torch.tensor([x for r in self.rows for x in r.facts[name]], dtype=torch.float32, device=self.device)
