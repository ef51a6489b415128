"""Revision at work: where the student errs, the teacher's token, the student writing on from there; and tokens found in spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.engine.decode import generate_ids
from tutelage.engine.noise import pick
from tutelage.engine.rendering import Rendering
from tutelage.engine.stopping import StopTexts
from tutelage.objectives.divergences import forward_kl
from tutelage.objectives.projection import by_tile
from tutelage.seeds import derive, stream
from tutelage.train.batch import Batch
from tutelage.train.feeds import Site, row_of
from tutelage.train.network import Network
from tutelage.train.oracle import TeacherOracle, by_row
from tutelage.train.revision import IN_SPAN, Chunker, Revised
from tutelage.train.window import Row

if TYPE_CHECKING:
    from tutelage.train.sources import Facts, Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    place: int
    """Index of the id that is replaced."""
    token: int
    """What stands there instead."""


class Reviser:
    """The edit that `Revised` describes."""

    def __init__(self, revised: Revised, site: Site) -> None:
        self._how, self._site = revised, site
        self._oracle = TeacherOracle(revised.teacher.ref, site, asked=revised.teacher.asked, role=revised.teacher.role)
        self._stops = StopTexts(site.rendering, revised.stop)

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        revised = list(rollouts)
        for turn in range(self._how.times):
            revised = self._once(revised, turn)
        return revised

    def _once(self, rollouts: list[Rollout], turn: int) -> list[Rollout]:
        corrected = {
            i: self._corrected(r, c)
            for i, (r, c) in enumerate(zip(rollouts, self.corrections(rollouts, turn), strict=True))
            if c is not None
        }
        unfinished = {i: r for i, r in corrected.items() if not self._over(r.ids) and self._room(r) > 0}
        out = [corrected.get(i, r) for i, r in enumerate(rollouts)]
        for again in _without_twins(unfinished):
            for i, longer in zip(again, self._continued([corrected[i] for i in again], turn), strict=True):
                out[i] = longer
        return [replace(r, text=self._stops.text(r.ids)) if i in corrected else r for i, r in enumerate(out)]

    def corrections(self, rollouts: Sequence[Rollout], turn: int = 0) -> list[Correction | None]:
        """Step 3 of the paper's first part: where each rollout is corrected and to what; None where it stays."""
        rows = [self._row(r) for r in rollouts]
        whole = [r for r in rows if r is not None]
        found = by_row(self._site.network, whole, micro_tokens=self._site.settings.micro_tokens, ask=partial(self._compared, turn))
        return [None if row is None else self._chosen(r, row, found[row.key], turn) for r, row in zip(rollouts, rows, strict=True)]

    def _chosen(self, rollout: Rollout, row: Row, found: tuple[Tensor, ...], turn: int) -> Correction | None:
        apart, wanted = found[0].tolist(), found[1].tolist()
        first = row.charged[0] - row.start
        places = range(first, first + len(row.charged))
        if self._how.at == "random":
            place = stream(self._site.seed, "revision", rollout.number, rollout.sample, turn).choice(places)
        else:
            differing = [p for p in places if wanted[p - first] != rollout.ids[p]]
            if not differing:
                return None
            place = max(differing, key=lambda p: apart[p - first])
        return Correction(place=place, token=int(wanted[place - first]))

    def _compared(self, turn: int, network: Network, batch: Batch) -> tuple[Tensor, ...]:
        """KL(teacher || student) and the teacher's token at every charged place."""
        hidden, head = network.projected(network.states(batch).index_select(0, batch.predicting), self._oracle.shared)
        states, theirs = self._oracle.logits(batch)
        apart = by_tile(forward_kl, hidden, head, (states, theirs))
        if self._how.say == "drawn":
            streams = [(stream(self._site.seed, "teacher's token", r.key, turn), len(r.charged)) for r in batch.rows]
            noise = torch.tensor([rng.random() for rng, n in streams for _ in range(n)], dtype=torch.float64, device=batch.device)
            wanted = by_tile(lambda z, u: pick(z, temperature=1.0, top_p=1.0, noise=u.cpu().numpy()), states, theirs, extras=[noise])
        else:
            wanted = by_tile(lambda z: z.argmax(-1), states, theirs)
        shared = self._oracle.shared
        if shared is not None and shared.ids is not None:
            wanted = torch.tensor(shared.ids, device=batch.device)[wanted]
        return apart, wanted

    def _row(self, rollout: Rollout) -> Row | None:
        prompt = self._site.rendering.prompt_ids(rollout.prompt)
        key = f"revised:{rollout.number}:{rollout.sample}"
        return row_of(prompt, rollout.ids, site=self._site, key=key, asked=rollout.prompt.id)

    def _continued(self, rollouts: Sequence[Rollout], turn: int) -> list[Rollout]:
        """Each with what the live student writes next."""
        site, how = self._site, self._how
        site.network.restore_attention()
        try:
            drawn = generate_ids(
                site.network.module,
                [[*site.rendering.prompt_ids(r.prompt), *r.ids] for r in rollouts],
                max_tokens=[self._room(r) for r in rollouts],
                stop_ids=site.rendering.stop_ids,
                temperature=how.temperature,
                top_p=how.top_p,
                seed=derive(site.seed, "revision", turn, rollouts[0].number, rollouts[0].sample),
                stop=self._stops.over if how.stop else None,
                logprobs=True,
                vocabulary=site.network.tokenizer_ids,
            )
        finally:
            site.network.claim_attention()
        longer = []
        for rollout, (more,) in zip(rollouts, drawn, strict=True):
            ids, log_probs = (*rollout.ids, *more.ids), (*rollout.log_probs, *(more.logprobs or ()))
            # A stop text may begin before the correction and end behind it.
            end = next((n for n in range(len(rollout.ids) + 1, len(ids)) if self._stops.over(ids[:n])), len(ids))
            finish = "stop" if end < len(ids) else more.finish
            longer.append(replace(rollout, ids=ids[:end], log_probs=log_probs[:end], finish=finish))
        return longer

    def _over(self, ids: Sequence[int]) -> bool:
        return ids[-1] in self._site.rendering.stop_ids or self._stops.over(ids)

    def _corrected(self, rollout: Rollout, correction: Correction) -> Rollout:
        """Up to the correction; "length" until it is written on, unless the correction itself ends it."""
        ids = (*rollout.ids[: correction.place], correction.token)
        finish = "stop" if self._over(ids) else "length"
        return replace(rollout, ids=ids, log_probs=(*rollout.log_probs[: correction.place], 0.0), finish=finish)

    def _room(self, rollout: Rollout) -> int:
        room = self._how.max_tokens - len(rollout.ids)
        if self._site.context_tokens is None:
            return room
        return min(room, self._site.context_tokens - len(self._site.rendering.prompt_ids(rollout.prompt)) - len(rollout.ids))


def _without_twins(rollouts: dict[int, Rollout]) -> list[list[int]]:
    """Their numbers in lots in which no two begin alike: equal requests of one call would be answered once."""
    seen: Counter[tuple[str, tuple[int, ...]]] = Counter()
    lots: list[list[int]] = []
    for i, rollout in rollouts.items():
        key = rollout.prompt.id, rollout.ids
        if seen[key] == len(lots):
            lots.append([])
        lots[seen[key]].append(i)
        seen[key] += 1
    return lots


class SpanMarks:
    """The marks that `InSpans` describes."""

    def __init__(self, chunk: Chunker, rendering: Rendering) -> None:
        self._chunk, self._rendering = chunk, rendering

    def __call__(self, rollouts: Sequence[Rollout]) -> list[Facts]:
        return [{IN_SPAN: self.marks(r.final_ids(self._rendering))} for r in rollouts]

    def marks(self, ids: Sequence[int]) -> list[float]:
        """One number per id. A token belongs to the span that holds its first character that is no space, so that a leading space does
        not move it; a token without such a character belongs to none."""
        ends = [len(self._rendering.text(ids[: i + 1])) for i in range(len(ids))]
        text = self._rendering.text(ids)
        spans = list(self._chunk(text))
        owners: list[int | None] = []
        for start, end in zip([0, *ends], ends, strict=False):
            place = next((c for c in range(start, min(end, len(text))) if not text[c].isspace()), None)
            owners.append(None if place is None else next((n for n, (a, b) in enumerate(spans) if a <= place < b), None))
        return [0.0, *(float(one is not None and one == other) for one, other in pairwise(owners))][: len(ids)]


def onward_marks(rendering: Rendering, ids: Sequence[int], begin: int | None) -> list[float]:
    """One number per id: 1 where its text reaches beyond character `begin`, and for all that follow."""
    if begin is None:
        return [0.0] * len(ids)
    return [float(len(rendering.text(ids[: i + 1])) > begin) for i in range(len(ids))]
