"""Early stopping: held-out records that a fit is watched on. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.errors import SettingsError
from tutelage.hashing import content_id
from tutelage.records import Example, Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Measure the objective on `records` every `every` steps, stop when it has not fallen by `least` for `patience` measurements in a
    row, and keep the weights of the best one."""

    records: tuple[Example | Pair, ...]
    every: int
    patience: int
    least: float = 0.0

    def __post_init__(self) -> None:
        if not self.records or self.every < 1 or self.patience < 1:
            raise SettingsError(
                "a watch needs records, and every and patience of at least 1", got=f"{len(self.records)}, {self.every}, {self.patience}"
            )

    @classmethod
    def on(cls, records: Sequence[Example | Pair], *, every: int, patience: int, least: float = 0.0) -> Watch:
        return cls(records=tuple(records), every=every, patience=patience, least=least)

    def describe(self) -> dict[str, Any]:
        records = content_id([r.id for r in self.records])
        return {"records": records, "every": self.every, "patience": self.patience, "least": self.least}
