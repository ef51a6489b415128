"""Examples that belong together and are worked on in one optimiser step. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tutelage.hashing import content_id
from tutelage.records import Example
from tutelage.train.readings import Foretold, epochs_of, texts_of

if TYPE_CHECKING:
    from tutelage.train.feeds import Site
    from tutelage.train.mixing import Drawing
    from tutelage.train.settings import FitSettings


class Tied:
    """Bundles of examples. A window is made of whole bundles, `batch` of them, so that an update always sees the several views of one
    datum together; bundles are shuffled anew for each epoch. A bundle of which one example cannot be trained on is left out."""

    __slots__ = ("bundles",)

    def __init__(self, bundles: Sequence[Sequence[Example]]) -> None:
        self.bundles = tuple(tuple(b) for b in bundles)

    @property
    def records(self) -> tuple[Example, ...]:
        return tuple(e for b in self.bundles for e in b)

    def describe(self) -> dict[str, Any]:
        return {"source": "tied", "n": len(self.bundles), "records": content_id([[e.id for e in b] for b in self.bundles])}

    def open(self, site: Site) -> Drawing:
        from tutelage.train.feeds import FixedFeed

        return FixedFeed(self.bundles, site)

    def windows(self, settings: FitSettings) -> list[int]:
        return epochs_of(len(self.bundles), settings)

    def drawn(self, groups: Sequence[int]) -> Foretold:
        """Bundles of unlike size are counted by their mean."""
        known = texts_of(self.records)
        return Foretold(rows=(known.share(round(sum(groups) * known.count / max(1, len(self.bundles)))),), known=(known,))
