"""Rollouts that lack something which every text must say: drawn anew, then led to it. Torch-free until a fit opens it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tutelage.errors import SettingsError
from tutelage.seeds import derive
from tutelage.train.sources import Edit, Rollout

if TYPE_CHECKING:
    from tutelage.engine.decode import Decoded
    from tutelage.train.feeds import Site


class Urged:
    """An edit for rollouts: one that lacks something is drawn anew up to `tries` times, and if it still does, `cue` is put behind what it
    has and the student goes on from there for at most `tokens` tokens (SaySelf, step 10).

    `lacking` gives what of a text the cue may follow, None where nothing is missing. Tokens of a cue have behaviour log-probability 0
    (unknown): charge them with nothing that needs it. Without a cue a text is drawn anew only.
    """

    def __init__(
        self,
        lacking: Callable[[str], str | None],
        *,
        by: str,
        tries: int,
        cue: str,
        tokens: int,
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
    ) -> None:
        """`by` names what `lacking` looks for, for the fit's key; `max_tokens`, `temperature`, `top_p` and `stop` as in the source."""
        if tries < 0 or tokens < 1 or temperature <= 0:
            raise SettingsError("urging needs tries of at least 0, tokens and a temperature above 0", got=(tries, tokens, temperature))
        self.lacking, self.by, self.tries, self.cue, self.tokens = lacking, by, tries, cue, tokens
        self.max_tokens, self.temperature, self.top_p, self.stop = max_tokens, temperature, top_p, tuple(stop)

    def describe(self) -> dict[str, Any]:
        sampling = [self.max_tokens, self.temperature, self.top_p, list(self.stop)]
        return {"urged": self.by, "tries": self.tries, "cue": self.cue, "tokens": self.tokens, "sampling": sampling}

    def open(self, site: Site) -> Edit:
        return _Urger(self, site)


class _Urger:
    def __init__(self, how: Urged, site: Site) -> None:
        from tutelage.engine.stopping import StopTexts

        self._how, self._site, self._stops = how, site, StopTexts(site.rendering, how.stop)

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        out = list(rollouts)
        for turn in range(self._how.tries):
            mute = [i for i, r in enumerate(out) if self._how.lacking(r.text) is not None]
            for i, again in zip(mute, self._anew([out[i] for i in mute], turn), strict=True):
                out[i] = again
        if self._how.cue:
            led = {i: begun for i, r in enumerate(out) if (begun := self._led(r)) is not None}
            for i, longer in zip(led, self._continued(list(led.values())), strict=True):
                out[i] = longer
        return out

    def _anew(self, mute: Sequence[Rollout], turn: int) -> list[Rollout]:
        """Other draws of the same prompts. Those of one prompt differ by the number of the sample, as in the source."""
        if not mute:
            return []
        asked = {r.number: self._site.rendering.prompt_ids(r.prompt) for r in mute}
        most = max(Counter(r.number for r in mute).values())
        room = [self._within(len(ids), self._how.max_tokens) for ids in asked.values()]
        drawn = self._drawn(list(asked.values()), room, samples=most, seed=("anew", turn, mute[0].number))
        left = {number: iter(found) for number, found in zip(asked, drawn, strict=True)}
        pairs = [(r, next(left[r.number])) for r in mute]
        return [self._read(replace(r, ids=d.ids, log_probs=d.logprobs or (), finish=d.finish)) for r, d in pairs]

    def _led(self, rollout: Rollout) -> Rollout | None:
        """With the cue behind it and open again; None where it lacks nothing or the model's context is full."""
        kept = self._how.lacking(rollout.text)
        if kept is None:
            return None
        rendering = self._site.rendering
        keep = next(k for k in range(len(rollout.ids), -1, -1) if self._is_of(kept, rollout.ids[:k]))
        tail = rendering.completion_ids(kept[len(rendering.text(rollout.ids[:keep])) :] + self._how.cue, end=False)
        ids = (*rollout.ids[:keep], *tail)
        if self._within(len(rendering.prompt_ids(rollout.prompt)) + len(ids), self._how.tokens) < 1:
            return None
        return replace(rollout, ids=ids, log_probs=(*rollout.log_probs[:keep], *(0.0 for _ in tail)))

    def _continued(self, led: Sequence[Rollout]) -> list[Rollout]:
        """Equal beginnings are answered once by the engine, so their continuations are samples of one request."""
        if not led:
            return []
        begun: dict[tuple[int, ...], list[int]] = {}
        for i, r in enumerate(led):
            begun.setdefault((*self._site.rendering.prompt_ids(r.prompt), *r.ids), []).append(i)
        room = [self._within(len(ids), self._how.tokens) for ids in begun]
        drawn = self._drawn(list(begun), room, samples=max(map(len, begun.values())), seed=("led", 0, led[0].number))
        found = {i: d for places, group in zip(begun.values(), drawn, strict=True) for i, d in zip(places, group, strict=False)}
        pairs = [(r, found[i]) for i, r in enumerate(led)]
        return [
            self._read(replace(r, ids=(*r.ids, *d.ids), log_probs=(*r.log_probs, *(d.logprobs or ())), finish=d.finish)) for r, d in pairs
        ]

    def _drawn(
        self, prompts: Sequence[Sequence[int]], room: Sequence[int], *, samples: int, seed: tuple[str, int, int]
    ) -> list[list[Decoded]]:
        from tutelage.engine.decode import generate_ids

        site, how = self._site, self._how
        site.network.restore_attention()
        try:
            return generate_ids(
                site.network.module, prompts, max_tokens=room, stop_ids=site.rendering.stop_ids, temperature=how.temperature,
                top_p=how.top_p, samples=samples, seed=derive(site.seed, "urged", *seed), stop=self._stops.over if how.stop else None,
                logprobs=True, vocabulary=site.network.tokenizer_ids,
            )  # fmt: skip
        finally:
            site.network.claim_attention()

    def _read(self, rollout: Rollout) -> Rollout:
        return replace(rollout, text=self._stops.text(rollout.ids))

    def _is_of(self, text: str, ids: Sequence[int]) -> bool:
        return not any(i in self._site.rendering.stop_ids for i in ids) and text.startswith(self._site.rendering.text(ids))

    def _within(self, used: int, wanted: int) -> int:
        return wanted if self._site.context_tokens is None else min(wanted, self._site.context_tokens - used)
