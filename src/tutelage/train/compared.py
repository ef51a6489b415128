"""Pairs whose two sides are asked for separately: a critique of the better reply against a critique of the worse one. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tutelage.errors import DataError
from tutelage.hashing import content_id
from tutelage.records import Example
from tutelage.train.readings import Foretold, epochs_of, texts_of

if TYPE_CHECKING:
    from tutelage.train.feeds import Site
    from tutelage.train.mixing import Drawing
    from tutelage.train.settings import FitSettings
    from tutelage.train.window import Group


class Compared:
    """(better, worse) examples, each under its own prompt: the rows `chosen` and `rejected` of one group, for every term that takes pairs.
    Shuffled anew for each epoch; a pair of which one side cannot be trained on is left out."""

    __slots__ = ("records",)

    def __init__(self, records: Sequence[tuple[Example, Example]]) -> None:
        if any(better == worse for better, worse in records):
            raise DataError("a pair compares an example with itself", got="equal examples", fix="leave such pairs out")
        self.records = tuple(records)

    def describe(self) -> dict[str, Any]:
        ids = [[better.id, worse.id] for better, worse in self.records]
        return {"source": "compared", "n": len(ids), "records": content_id(ids)}

    def open(self, site: Site) -> Drawing:
        from tutelage.train.feeds import FixedFeed

        return FixedFeed(self.records, site, make=_group)

    def windows(self, settings: FitSettings) -> list[int]:
        return epochs_of(len(self.records), settings)

    def drawn(self, groups: Sequence[int]) -> Foretold:
        known = texts_of(self.records)
        return Foretold(rows=(known.share(2 * sum(groups)),), known=(known,))


def _group(record: Any, site: Site) -> Group | None:
    from tutelage.train.feeds import group_of

    found = group_of(record, site)
    if found is None:
        return None
    return replace(found, rows=tuple(replace(row, role=role) for row, role in zip(found.rows, ("chosen", "rejected"), strict=True)))
