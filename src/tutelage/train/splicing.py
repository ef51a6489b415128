"""Rollouts that somebody else writes on: which, how many in the course of a fit, and where the tokens stand that are not the student's.
Torch-free."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tutelage.errors import SettingsError, did_you_mean
from tutelage.seeds import stream
from tutelage.train.sources import Edit, Facts, Marks, Rollout

if TYPE_CHECKING:
    from tutelage.train.feeds import Site

FOREIGN = "foreign"
"""The mark of tokens in texts that somebody else wrote on."""
SHAPES = ("linear", "constant", "exponential", "cosine")
Continue = Callable[[Sequence[tuple[int, str]]], Sequence[str | None]]
"""(place of the prompt in the source, the student's text) of each -> what follows it; None where nothing does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """The share of rollouts that are written on, falling over the steps, and off for good once it is low (ThinkTuning, step 10)."""

    start: float = 0.1
    floor: float = 0.01
    slack: float = 0.05
    """Off from the step on whose share is at most this plus 0.01."""
    share: float = 1.0
    """Of all steps, in which it falls from `start` to `floor`."""
    shape: str = "linear"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise SettingsError("guidance has no such shape", got=self.shape, fix=did_you_mean(self.shape, SHAPES))
        if not (0 < self.floor <= self.start <= 1 and self.share > 0):
            raise SettingsError("guidance needs 0 < floor <= start <= 1 and a share above 0", got=(self.floor, self.start, self.share))

    def at(self, progress: float) -> float:
        """When `progress` of the steps (0 to 1) is done; 0 is off."""
        way = 0.0 if self.shape == "constant" else min(1.0, progress / self.share)
        if self.shape == "exponential":
            now = self.start * (self.floor / self.start) ** way
        else:
            fallen = (1 - math.cos(math.pi * way)) / 2 if self.shape == "cosine" else way
            now = self.start - (self.start - self.floor) * fallen
        return now if now > self.slack + 0.01 + 1e-9 else 0.0


class Spliced:
    """An edit for rollouts: while guidance is on, max(1, floor(share x eligible)) of each prompt's rollouts are written on by `proceed`.

    Eligible are those that the student ended itself. Its end is taken off, what `proceed` says follows, and one end stands behind that.
    A text that would grow beyond `max_tokens` stays as it is. `deal`: what was written for one prompt's rollouts is given to another's.
    """

    def __init__(
        self, proceed: Continue, *, by: Mapping[str, Any], guidance: Guidance, steps: int, max_tokens: int, deal: bool = False
    ) -> None:
        """`by`: all that decides what `proceed` says, for the fit's key. `steps`: how often the source draws in the whole fit."""
        if steps < 1:
            raise SettingsError("rollouts are drawn at least once", got=steps)
        self.proceed, self.by, self.guidance, self.deal = proceed, dict(by), guidance, deal
        self.steps, self.max_tokens = steps, max_tokens

    def describe(self) -> dict[str, Any]:
        held = {"guidance": asdict(self.guidance), "steps": self.steps, "max_tokens": self.max_tokens, "deal": self.deal}
        return {"spliced": self.by, **held}

    def rehearse(self, *, prompts: int, samples: int) -> None:
        """What would be asked if every rollout were eligible."""
        for step in range(self.steps):
            share = self.guidance.at(step / self.steps)
            if share:
                self.proceed([(i, "") for i in range(prompts) for _ in range(_chosen(share, samples))])

    def open(self, site: Site) -> Edit:
        return _Splicer(self, site)


def _chosen(share: float, eligible: int) -> int:
    return min(eligible, max(1, math.floor(share * eligible)))


class _Splicer:
    def __init__(self, how: Spliced, site: Site) -> None:
        self._how, self._site = how, site

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        chosen = self._selected(rollouts)
        said = list(self._how.proceed([(rollouts[i].place, rollouts[i].text) for i in chosen])) if chosen else []
        if self._how.deal:
            said = _dealt(said, [rollouts[i].place for i in chosen])
        longer = {i: self._longer(rollouts[i], text) for i, text in zip(chosen, said, strict=True) if text}
        return [longer.get(i, r) for i, r in enumerate(rollouts)]

    def _selected(self, rollouts: Sequence[Rollout]) -> list[int]:
        """Indices, in order."""
        settings, groups = self._site.settings, dict[int, list[int]]()
        for i, r in enumerate(rollouts):
            mine = groups.setdefault(r.number, [])
            if r.finish == "stop":
                mine.append(i)
        found: list[int] = []
        for number, eligible in groups.items():
            share = self._how.guidance.at(number // settings.batch / self._how.steps)
            if share and eligible:
                found += stream(self._site.seed, "spliced", number).sample(eligible, k=_chosen(share, len(eligible)))
        return sorted(found)

    def _longer(self, rollout: Rollout, text: str) -> Rollout:
        """The student's ids as far as they are its text without the end, then what is left of that and the new text."""
        rendering, own = self._site.rendering, rollout.text.rstrip()
        keep = next(k for k in range(len(rollout.ids), -1, -1) if self._is_of(own, rollout.ids[:k]))
        tail = own[len(rendering.text(rollout.ids[:keep])) :] + text
        room = self._how.max_tokens
        if self._site.context_tokens is not None:
            room = min(room, self._site.context_tokens - len(rendering.prompt_ids(rollout.prompt)))
        if keep + len(rendering.completion_ids(tail)) > room:
            return rollout
        return replace(rollout.spliced(keep, tail), text=own + text)

    def _is_of(self, text: str, ids: Sequence[int]) -> bool:
        return not any(i in self._site.rendering.stop_ids for i in ids) and text.startswith(self._site.rendering.text(ids))


def _dealt(said: Sequence[str | None], places: Sequence[int]) -> list[str | None]:
    """Each gets what was said half-way on; nothing where that was said of the same prompt."""
    n = len(said)
    givers = [(i + max(1, n // 2)) % n for i in range(n)] if n else []
    return [said[j] if places[j] != places[i] else None for i, j in enumerate(givers)]


class Foreign:
    """Marks `foreign`: 1 for all tokens of a rollout that was written on, as in the paper, or (`appended`) for those that were appended."""

    def __init__(self, *, appended: bool = False) -> None:
        self.appended = appended

    def describe(self) -> dict[str, Any]:
        return {"foreign": "appended" if self.appended else "whole"}

    def open(self, site: Site) -> Marks:
        def marks(rollouts: Sequence[Rollout]) -> list[Facts]:
            return [{FOREIGN: self._of(r, site)} for r in rollouts]

        return marks

    def _of(self, rollout: Rollout, site: Site) -> float | list[float]:
        if rollout.new is None or not self.appended:
            return float(rollout.new is not None)
        keep = len(rollout.ids) if rollout.keep is None else rollout.keep
        return [0.0] * keep + [1.0] * len(site.rendering.completion_ids(rollout.new))
