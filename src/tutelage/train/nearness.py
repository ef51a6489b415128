"""A reward that asks a teacher, at work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tutelage.train.batch import Batch
from tutelage.train.feeds import Site, row_of
from tutelage.train.window import Group, Row

if TYPE_CHECKING:
    from tutelage.train.rewards import Near
    from tutelage.train.sources import Rollout


class Nearness:
    """The reward that `Near` describes."""

    def __init__(self, near: Near, site: Site) -> None:
        self._near, self._site = near, site
        self._oracle = near.teacher.open(site)

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        values = list(self._near.reward(rollouts))
        rows = [self._row(r) for r in rollouts]
        groups = [Group(rows=(r,)) for r in rows if r is not None]
        if not groups:
            return values
        told = self._oracle.row_values("teacher_log_probs", Batch(groups, self._site.network.device)).tolist()
        for place, (rollout, row) in enumerate(zip(rollouts, rows, strict=True)):
            if row is not None:
                theirs, told = told[: len(row.charged)], told[len(row.charged) :]
                own = rollout.log_probs[: rollout.keep]  # what was written instead of the others has no likelihood to hold against
                apart = [t - own[i - row.start] for t, i in zip(theirs, row.charged, strict=True) if i - row.start < len(own)]
                values[place] += self._near.weight * sum(apart) / max(1, len(apart))
        return values

    def _row(self, rollout: Rollout) -> Row | None:
        prompt = self._site.rendering.prompt_ids(rollout.prompt)
        key = f"near:{rollout.number}:{rollout.sample}"
        return row_of(prompt, rollout.final_ids(self._site.rendering), site=self._site, key=key, asked=rollout.prompt.id)
