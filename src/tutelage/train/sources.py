"""Where windows come from, as descriptions that recipes can write down. Torch-free: the feeds behind them open when a fit starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tutelage.errors import DataError
from tutelage.hashing import content_id
from tutelage.records import Example, Pair

if TYPE_CHECKING:
    from tutelage.train.feeds import Feed, Site


@runtime_checkable
class Source(Protocol):
    """A description of windows. `describe` holds all that could change them; `open` gives the windows themselves."""

    def describe(self) -> dict[str, Any]: ...

    def open(self, site: Site) -> Feed: ...


class Fixed:
    """The same examples or pairs in every epoch, shuffled anew for each from a named stream."""

    __slots__ = ("records",)

    def __init__(self, records: Sequence[Example | Pair]) -> None:
        kinds = {type(r).__name__ for r in records}
        if not kinds <= {"Example", "Pair"}:
            raise DataError(
                "fixed data must be examples or pairs", got=", ".join(sorted(kinds)), fix="turn them into Example records first"
            )
        if len(kinds) > 1:
            raise DataError("fixed data mixes examples and pairs", got=", ".join(sorted(kinds)), fix="fit them one after the other")
        self.records = tuple(records)

    def describe(self) -> dict[str, Any]:
        return {"source": "fixed", "n": len(self.records), "records": content_id([r.id for r in self.records])}

    def open(self, site: Site) -> Feed:
        from tutelage.train.feeds import FixedFeed

        return FixedFeed(self.records, site)
