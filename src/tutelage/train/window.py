"""Rows, groups and windows: what one optimiser step works on, complete before the forward pass. Torch-free.

Positions are charged here and nowhere else: the token at index j of a row is predicted by the hidden state at j - 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tutelage.objectives.term import Objective, Term

DRAWN_AT = "drawn_at"
"""The fact of a row of rollouts that the student learns from once, drawn at another temperature or precision than it is trained at: the
temperature. Its policy is then the one of the training pass at that temperature, and the behaviour log-probabilities are its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence of a forward pass."""

    key: str
    """Targets are looked up by it, never by position."""
    ids: tuple[int, ...]
    """Prompt and completion."""
    charged: tuple[int, ...]
    """Indices of the tokens that are charged, rising, each at least 1."""
    spans: tuple[float, ...]
    """Weight of each charged token."""
    weight: float = 1.0
    """Weight of the whole row."""
    role: str = ""
    """`chosen` or `rejected` in pairs; empty elsewhere."""
    label: int | None = None
    start: int = 0
    """How many of the ids are the prompt's."""
    prompt: str = ""
    """Id of the prompt, by which a target that asks otherwise finds what to ask."""
    facts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """One number per charged token by name: behaviour log-probabilities, advantages, marks."""

    @property
    def span_total(self) -> float:
        return sum(self.spans)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that stay in one forward pass: one example, the two rows of a pair, or the samples of one prompt."""

    rows: tuple[Row, ...]
    margin: float = 0.0
    """Of a pair."""

    @property
    def tokens(self) -> int:
        return sum(len(r.ids) for r in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The groups of one optimiser step."""

    groups: tuple[Group, ...]

    @property
    def rows(self) -> Iterator[Row]:
        return (r for g in self.groups for r in g.rows)

    @property
    def tokens(self) -> int:
        return sum(g.tokens for g in self.groups)


def count(term: Term, groups: Sequence[Group]) -> float:
    """What the term's sum over these groups is divided by: weights of tokens, weights of rows, or the number of pairs or groups.

    Weights count by their size, so that a negative one (push away) does not shrink the denominator.
    """
    if term.unit in ("pair", "group"):
        return float(len(groups))
    rows = [r for g in groups for r in g.rows if not term.over or r.role == term.over]
    if term.unit == "sequence":
        return sum(abs(r.weight) for r in rows if term.grain == "sequence" or any(charges(r, term)))
    return sum(abs(r.weight) * sum(abs(s) for s in charges(r, term)) for r in rows)


def charges(row: Row, term: Term) -> tuple[float, ...]:
    """The weight of each charged token of the row under this term: its span's, times its mark where the term asks for one. A row without
    marks is not charged by such a term."""
    if not term.where:
        return row.spans
    return tuple(s * m for s, m in zip(row.spans, row.facts.get(term.where, (0.0,) * len(row.spans)), strict=True))


def split(groups: Sequence[Group], objective: Objective, micro_tokens: int, *, padded: bool) -> list[list[Group]]:
    """Micro-batches of at most `micro_tokens` (with padding, where there is any) in order; a group that is larger goes alone.
    Coupled terms compare examples with one another, so such a window stays whole."""
    if objective.coupled:
        return [list(groups)] if groups else []
    batches: list[list[Group]] = []
    size, longest, rows = 0, 0, 0
    for group in groups:
        long = max(longest, *(len(r.ids) for r in group.rows))
        grown = long * (rows + len(group.rows)) if padded else size + group.tokens
        if batches and batches[-1] and grown > micro_tokens:
            batches.append([])
            size, longest, rows = 0, 0, 0
        if not batches:
            batches.append([])
        batches[-1].append(group)
        size += group.tokens
        rows += len(group.rows)
        longest = max(longest, *(len(r.ids) for r in group.rows))
    return batches


def share(groups: Sequence[Group], index: int, of: int, *, whole: bool) -> list[Group]:
    """The groups of one process: every `of`-th, so that long and short ones spread; all in the first where they belong together."""
    if whole:
        return list(groups) if index == 0 else []
    return list(groups[index::of])
