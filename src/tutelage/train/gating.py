"""Feeds that choose how many of their rows become a window. What was used, and how often, is left at the site for the fit's result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tutelage.errors import DataError
from tutelage.seeds import stream
from tutelage.select.thresholds import MovingThresholds, among_top, reaching, weights_of
from tutelage.train.classes import class_log_probs
from tutelage.train.feeds import FixedFeed, Site
from tutelage.train.gated import Gated, Portions
from tutelage.train.window import Group, Window

_MOST_EMPTY = 1000
"""Mini-batches in a row of which nothing passes before the fit is given up."""
UNSURE_TEACHER = "unsure_teacher"
SURE_STUDENT = "sure_student"
"""Rows that were turned down, by the gate that did so first."""


class _Choosing:
    """Tells what its windows held: `uses`, how often each example was trained on, and `sizes`, how many rows each window had."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._uses: dict[str, int] = site.told.setdefault("uses", {})
        self._sizes: list[int] = site.told.setdefault("sizes", [])

    def _count(self, groups: Sequence[Group]) -> None:
        for group in groups:
            self._uses[group.rows[0].key] = self._uses.get(group.rows[0].key, 0) + 1
        self._sizes.append(len(groups))

    def _counts(self) -> dict[str, Any]:
        return {"uses": dict(self._uses), "sizes": list(self._sizes)}

    def _restore_counts(self, state: dict[str, Any]) -> None:
        self._uses.update(state["uses"])
        self._sizes.extend(state["sizes"])


class GatedFeed(_Choosing):
    """The student is asked about a mini-batch with the weights that the window then trains: uncertainties are never stale."""

    def __init__(self, source: Gated, site: Site) -> None:
        super().__init__(site)
        self._gates, self._inner = source.gates, FixedFeed(source.records, site)
        self._sure = {r.id: c for r, c in zip(source.records, source.sure, strict=True)}
        self.fixed = self._inner.fixed
        steps = site.settings.steps
        self.total = self._inner.total if steps is None else steps
        classes = site.settings.outputs
        # Bars begin where every teacher and student is, so that the first mini-batches are not empty.
        begun = partial(MovingThresholds.begun, classes, decay=self._gates.decay, by_class=self._gates.by_class)
        self._bars = [begun(level=1 / classes), begun(level=0.0)]
        self._windows = self._looked = 0

    def next(self) -> Window | None:
        if self._windows >= self.total:
            return None
        for _ in range(_MOST_EMPTY):
            if chosen := self._passing(self._inner.draw(self._site.settings.batch)):
                self._windows += 1
                self._count(chosen)
                return Window(groups=tuple(chosen))
        raise DataError(
            f"nothing passed the gates in {_MOST_EMPTY} mini-batches",
            got=f"step {self._windows + 1}",
            fix="ask for one signal, or a larger top share",
        )

    def _passing(self, pool: Sequence[Group]) -> list[Group]:
        gates, classes = self._gates, [g.rows[0].label or 0 for g in pool]
        self._looked += 1
        sure, unsure = [self._sure[g.rows[0].key] for g in pool], [0.0] * len(pool)
        if gates.student or gates.own:
            log_probs = class_log_probs(pool, self._site)
            unsure = (-(log_probs.exp() * log_probs).sum(-1) / math.log(log_probs.shape[1])).clamp(0, 1).tolist()
            sure = log_probs.max(-1).values.exp().tolist() if gates.own else sure
        if gates.dealt:
            stream(self._site.seed, "dealt", self._looked).shuffle(unsure)
        self._bars = [bars.after(values, classes) for bars, values in zip(self._bars, (sure, unsure), strict=True)]
        keep = [True] * len(pool)
        if gates.teacher:
            keep = self._kept(keep, self._passed(sure, classes, self._bars[0]), UNSURE_TEACHER)
        if gates.student and self._windows >= gates.warmup * self.total:
            keep = self._kept(keep, self._passed(unsure, classes, self._bars[1]), SURE_STUDENT)
        chosen = [i for i, kept in enumerate(keep) if kept]
        if not gates.weighted:
            return [pool[i] for i in chosen]
        asked = [[signal[i] for i in chosen] for signal, wanted in ((sure, gates.teacher), (unsure, gates.student)) if wanted]
        weights = weights_of(*asked) if asked else [1.0] * len(chosen)
        return [_weighing(pool[i], w) for i, w in zip(chosen, weights, strict=True)]

    def _passed(self, values: Sequence[float], classes: Sequence[int], bars: MovingThresholds) -> list[bool]:
        return reaching(values, classes, bars) if self._gates.top is None else among_top(values, self._gates.top)

    def _kept(self, before: Sequence[bool], passed: Sequence[bool], reason: str) -> list[bool]:
        turned_down = sum(was and not now for was, now in zip(before, passed, strict=True))
        self._site.told[reason] = self._site.told.get(reason, 0) + turned_down
        return [was and now for was, now in zip(before, passed, strict=True)]

    def state(self) -> dict[str, Any]:
        bars = [[b.level, list(b.means)] for b in self._bars]
        place = {"inner": self._inner.state(), "windows": self._windows, "looked": self._looked, "bars": bars}
        return {**place, "told": self._turned_down(), **self._counts()}

    def restore(self, state: dict[str, Any]) -> None:
        self._inner.restore(state["inner"])
        self._windows, self._looked = state["windows"], state["looked"]
        held = zip(self._bars, state["bars"], strict=True)
        self._bars = [replace(bars, level=level, means=tuple(means)) for bars, (level, means) in held]
        self._site.told.update(state["told"])
        self._restore_counts(state)

    def _turned_down(self) -> dict[str, int]:
        return {reason: self._site.told.get(reason, 0) for reason in (UNSURE_TEACHER, SURE_STUDENT)}


class PortionsFeed(_Choosing):
    """Rows in shuffled epochs, as many per window as was said."""

    def __init__(self, source: Portions, site: Site) -> None:
        super().__init__(site)
        self._inner, self._wanted, self._windows = FixedFeed(source.records, site), source.sizes, 0
        self.fixed, self.total = self._inner.fixed, len(source.sizes)

    def next(self) -> Window | None:
        if self._windows >= self.total:
            return None
        drawn = self._inner.draw(self._wanted[self._windows])
        self._windows += 1
        self._count(drawn)
        return Window(groups=tuple(drawn))

    def state(self) -> dict[str, Any]:
        return {"inner": self._inner.state(), "windows": self._windows, **self._counts()}

    def restore(self, state: dict[str, Any]) -> None:
        self._inner.restore(state["inner"])
        self._windows = state["windows"]
        self._restore_counts(state)


def _weighing(group: Group, weight: float) -> Group:
    row = group.rows[0]
    return replace(group, rows=(replace(row, weight=row.weight * weight),))
