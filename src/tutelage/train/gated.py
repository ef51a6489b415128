"""Sources whose windows have as many rows as deserve it: `Gated` lets rows through by two moving thresholds, `Portions` draws given
numbers. Torch-free: the feeds open when a fit starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutelage.errors import DataError, SettingsError
from tutelage.hashing import content_id
from tutelage.records import Example
from tutelage.train.readings import Foretold, epochs_of, texts_of

if TYPE_CHECKING:
    from tutelage.train.feeds import Feed, Site
    from tutelage.train.settings import FitSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Which rows of a mini-batch are trained on (LLKD): those that the teacher is sure of and the student is not."""

    teacher: bool = True
    """Ask for the teacher's confidence to reach its threshold."""
    student: bool = True
    """Ask for the student's uncertainty (entropy over its largest value, of the same weights that are then trained) to reach its own."""
    decay: float = 0.9
    """Of the moving means behind the thresholds."""
    by_class: bool = True
    """One pair of thresholds per class, else one for all."""
    top: float | None = None
    """Instead of thresholds: the rows that are among this share of the mini-batch by each signal that is asked for."""
    weighted: bool = True
    """Weigh the rows that are let through by the sum of the signals that are asked for, with mean 1."""
    warmup: float = 0.0
    """Share of the steps at the beginning in which the student's threshold lets everything through; it moves all the same."""
    own: bool = False
    """Ask for the student's own confidence in place of the teacher's (thresholds of semi-supervised learning)."""
    dealt: bool = False
    """A control: the student's uncertainties are dealt out among the rows of the mini-batch by chance."""

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= 1:
            raise SettingsError("gates need a warm-up in [0, 1], a share of the steps", got=self.warmup)
        if not 0 <= self.decay < 1:
            raise SettingsError("gates need a decay in [0, 1)", got=self.decay)
        if self.top is not None and not 0 < self.top <= 1:
            raise SettingsError("gates need a top share in (0, 1]", got=self.top)


class Gated:
    """Mini-batches of `batch` examples in shuffled epochs; of each, the rows that pass the gates are a window. A mini-batch of which none
    passes is no step. `sure` is the teacher's confidence in each example's label."""

    def __init__(self, records: Sequence[Example], sure: Sequence[float], gates: Gates) -> None:
        if len(records) != len(sure):
            raise DataError("every example needs a confidence", got=f"{len(records)} examples, {len(sure)} confidences")
        if any(r.label is None for r in records):
            raise DataError("gates need a label on every example", got=sum(r.label is None for r in records), fix="set label")
        self.records, self.sure, self.gates = tuple(records), tuple(map(float, sure)), gates

    def describe(self) -> dict[str, Any]:
        gates = {name: getattr(self.gates, name) for name in Gates.__slots__}
        return {"source": "gated", "records": content_id([r.id for r in self.records]), "sure": content_id(list(self.sure)), "gates": gates}

    def open(self, site: Site) -> Feed:
        from tutelage.train.gating import GatedFeed

        return GatedFeed(self, site)

    def windows(self, settings: FitSettings) -> list[int]:
        """At most: the gates decide how many rows of a mini-batch stay."""
        return [settings.batch] * (settings.steps or len(epochs_of(len(self.records), settings)))

    def drawn(self, groups: Sequence[int]) -> Foretold:
        known = texts_of(self.records)
        return Foretold(rows=(known.share(sum(groups)),), known=(known,))


class Portions:
    """Shuffled epochs cut into windows of the given sizes, in order: as many rows as another source chose, drawn by chance."""

    def __init__(self, records: Sequence[Example], sizes: Sequence[int]) -> None:
        if not sizes or min(sizes) < 1:
            raise SettingsError("portions need at least one window, each of at least one row", got=list(sizes)[:5])
        self.records, self.sizes = tuple(records), tuple(sizes)

    def describe(self) -> dict[str, Any]:
        return {"source": "portions", "records": content_id([r.id for r in self.records]), "sizes": list(self.sizes)}

    def open(self, site: Site) -> Feed:
        from tutelage.train.gating import PortionsFeed

        return PortionsFeed(self, site)

    def windows(self, settings: FitSettings) -> list[int]:
        return list(self.sizes)

    def drawn(self, groups: Sequence[int]) -> Foretold:
        known = texts_of(self.records)
        return Foretold(rows=(known.share(sum(groups)),), known=(known,))
