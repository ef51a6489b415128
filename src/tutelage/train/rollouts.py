"""Windows that the live student writes itself: rollouts, their edits and rewards, and the buffer that remembers them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from tutelage.engine.decode import Decoded, generate_ids
from tutelage.engine.stopping import StopTexts
from tutelage.errors import DataError, SettingsError
from tutelage.objectives.policy import group_advantages, leave_one_out
from tutelage.seeds import derive, stream
from tutelage.train.feeds import Site, decode_group, encode_group, row_of
from tutelage.train.window import DRAWN_AT, Group, Row, Window

if TYPE_CHECKING:
    from tutelage.train.sources import Facts, OnPolicy, Replay, Rollout


class OnPolicyFeed:
    """Every window is drawn from the student as it is at that step."""

    fixed: Sequence[Group] = ()

    def __init__(self, source: OnPolicy, site: Site, *, once: bool = True) -> None:
        """`once`: no rollout is learned from again later."""
        self._source, self._site = source, site
        as_drawn = source.temperature == 1.0 and site.settings.precision == "fp32"
        self._held = once and source.reuse == 1 and source.temperature > 0 and not as_drawn
        self._prompts = [site.rendering.prompt_ids(p) for p in source.prompts]
        self._stops = StopTexts(site.rendering, source.stop)
        self._asked = [p.id for p in source.prompts]
        site.prompts.update(zip(self._asked, source.prompts, strict=True))
        if not self._prompts:
            raise DataError("nothing to train on", got="no prompts", fix="look at the step that made them")
        batch = site.settings.batch
        per_epoch = math.ceil(len(self._prompts) / batch)
        self.total = site.settings.steps or per_epoch * site.settings.epochs * source.reuse
        self._batch, self._taken, self._windows, self._left = batch, 0, 0, 0
        self._current: Window | None = None
        self._pays = source.reward is not None or source.edit is not None  # an edit may set rewards too
        self._told: list[dict[str, float]] = site.told.setdefault("rollouts", [])
        self._edit, self._reward, self._marks = (_opened(hook, site) for hook in (source.edit, source.reward, source.marks))

    def next(self) -> Window | None:
        if self._windows >= self.total:
            return None
        if self._left == 0:
            self._current, self._left = Window(groups=tuple(self.draw(self._batch))), self._source.reuse
        self._windows += 1
        self._left -= 1
        return self._current

    def draw(self, n: int) -> list[Group]:
        """Rollouts of the next `n` prompts; prompts are shuffled anew for every pass."""
        places = [self._place(self._taken + i) for i in range(n)]
        first, self._taken = self._taken, self._taken + n
        groups = [
            self._group(first + i, place, drawn) for i, (place, drawn) in enumerate(zip(places, self._decoded(places, first), strict=True))
        ]
        edited = self._edited(groups)
        means = _means([r for rollouts in edited for r in rollouts])
        drawn = [g for g in (self._rows(rollouts) for rollouts in edited) if g is not None]
        self._told.append({name: x for name, x in means.items() if name != "reward" or self._pays} | _marked(drawn))
        return drawn

    def _place(self, taken: int) -> int:
        turn, place = divmod(taken, len(self._prompts))
        order = list(range(len(self._prompts)))
        stream(self._site.seed, "prompts", turn).shuffle(order)
        return order[place]

    def _decoded(self, places: Sequence[int], first: int) -> list[list[Decoded]]:
        """Each process draws for its share of the prompts; all get everything. Noise belongs to the row, so the split changes no token."""
        site, source = self._site, self._source
        mine = places[site.process :: site.processes]
        room = source.max_tokens
        if site.context_tokens is not None:
            longest = max((len(self._prompts[p]) for p in places), default=0)
            room = min(room, site.context_tokens - longest)
            if room < 1:
                raise DataError(
                    "prompt fills the whole context", got=f"{longest} of {site.context_tokens} tokens", fix="leave such prompts out"
                )
        asked = [self._prompts[p] for p in mine]
        site.network.restore_attention()
        try:
            drawn = generate_ids(
                site.network.module,
                asked,
                max_tokens=room,
                stop_ids=site.rendering.stop_ids,
                temperature=source.temperature,
                top_p=source.top_p,
                samples=source.samples,
                seed=derive(site.seed, "rollouts", first),
                stop=self._stops.over if source.stop else None,
                logprobs=True,
                vocabulary=site.network.tokenizer_ids,
            )
        finally:
            site.network.claim_attention()
        return drawn if site.processes == 1 else _gathered(drawn, len(places), site)

    def _group(self, number: int, place: int, drawn: Sequence[Decoded]) -> list[Rollout]:
        from tutelage.train.sources import Rollout

        return [
            Rollout(
                prompt=self._source.prompts[place],
                place=place,
                number=number,
                sample=i,
                ids=d.ids,
                log_probs=d.logprobs or (),
                text=self._stops.text(d.ids),
                finish=d.finish,
            )
            for i, d in enumerate(drawn)
        ]

    def _edited(self, groups: list[list[Rollout]]) -> list[list[Rollout]]:
        flat = [r for g in groups for r in g]
        if self._edit is not None:
            flat = list(self._edit(flat))
            if len(flat) != sum(map(len, groups)):
                raise SettingsError(
                    "edit changed the number of rollouts", got=f"{sum(map(len, groups))} to {len(flat)}", fix="set weight=0 to drop one"
                )
        if self._reward is not None:
            values = list(self._reward(flat))
            flat = [replace(r, reward=float(v)) for r, v in zip(flat, values, strict=True)]
        parts = iter(flat)
        return [[next(parts) for _ in g] for g in groups]

    def _rows(self, rollouts: Sequence[Rollout]) -> Group | None:
        advantages = self._advantages([r.reward for r in rollouts])
        marks: Sequence[Facts] = [{}] * len(rollouts) if self._marks is None else self._marks(rollouts)
        rows = [self._row(r, a, m) for r, a, m in zip(rollouts, advantages, marks, strict=True)]
        kept = tuple(r for r in rows if r is not None)
        return Group(rows=kept) if kept else None

    def _advantages(self, rewards: Sequence[float]) -> list[float]:
        values = torch.tensor([list(rewards)], dtype=torch.float64)
        found = {
            "group": lambda: group_advantages(values),
            "group_mean": lambda: group_advantages(values, by_std=False),
            "leave_one_out": lambda: leave_one_out(values),
            "reward": lambda: values,
        }[self._source.advantage]()
        return found[0].tolist()

    def _row(self, rollout: Rollout, advantage: float, marks: Facts) -> Row | None:
        site = self._site
        ids = rollout.final_ids(site.rendering)
        own = rollout.log_probs[: rollout.keep]
        known = (*own, *(0.0 for _ in ids[len(own) :]))
        row = row_of(
            self._prompts[rollout.place],
            ids,
            site=site,
            key=f"rollout:{rollout.number}:{rollout.sample}",
            asked=self._asked[rollout.place],
            weight=rollout.weight,
            role="edited" if rollout.new is not None else "own",
        )
        if row is None:
            return None
        start = row.start
        facts = {"behaviour_log_probs": tuple(known[i - start] for i in row.charged)}
        if self._held:
            facts[DRAWN_AT] = (self._source.temperature,) * len(row.charged)
        for name, given in marks.items():
            values = [given] * len(ids) if isinstance(given, float | int) else given
            if len(values) != len(ids):
                raise SettingsError(f"marks '{name}' do not fit", got=f"{len(values)} for {len(ids)} ids", fix="give one number per id")
            facts[name] = tuple(float(values[i - start]) for i in row.charged)
        if self._pays:
            facts["advantages"] = (advantage,) * len(row.charged)
        return replace(row, facts=facts)

    def state(self) -> dict[str, Any]:
        current = [encode_group(g) for g in self._current.groups] if self._current is not None and self._left else None
        return {"taken": self._taken, "windows": self._windows, "left": self._left, "current": current, "told": list(self._told)}

    def restore(self, state: dict[str, Any]) -> None:
        self._taken, self._windows, self._left = state["taken"], state["windows"], state["left"]
        if state["current"] is not None:
            self._current = Window(groups=tuple(decode_group(g) for g in state["current"]))
        self._told[:] = state["told"]


def _opened(hook: Any, site: Site) -> Any:
    from tutelage.train.sources import Live

    return hook.open(site) if isinstance(hook, Live) else hook


def _means(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """What the fit's record says of the rollouts of one draw: mean reward, tokens, and surprise (minus the mean log-probability of their
    tokens when they were drawn, an estimate of the policy's entropy); where some were written on, their share and mean reward."""
    drawn = [x for r in rollouts for x in r.log_probs]
    spliced = [r.reward for r in rollouts if r.keep]
    told = {"spliced": len(spliced) / len(rollouts), "spliced_reward": sum(spliced) / len(spliced)} if spliced else {}
    return told | {
        "reward": sum(r.reward for r in rollouts) / max(1, len(rollouts)),
        "tokens": sum(len(r.ids) for r in rollouts) / max(1, len(rollouts)),
        "surprise_nats": -sum(drawn) / max(1, len(drawn)),
    }


def _marked(groups: Sequence[Group]) -> dict[str, float]:
    """Of each mark its mean over the charged tokens: a mask that is never set is seen in the fit's record."""
    rows = [r for g in groups for r in g.rows]
    names = {name for r in rows for name in r.facts} - {"behaviour_log_probs", "advantages", DRAWN_AT}
    tokens = sum(len(r.charged) for r in rows)
    return {name: sum(sum(r.facts.get(name, ())) for r in rows) / tokens for name in sorted(names)}


def _gathered(drawn: list[list[Decoded]], total: int, site: Site) -> list[list[Decoded]]:
    from accelerate.utils import gather_object

    everything: list[tuple[int, list[Decoded]]] = gather_object(list(zip(range(site.process, total, site.processes), drawn, strict=True)))
    return [d for _, d in sorted(everything, key=lambda pair: pair[0])]


class ReplayFeed:
    """A share of each window fresh from the student, the rest remembered with its behaviour log-probabilities and step."""

    fixed: Sequence[Group] = ()

    def __init__(self, source: Replay, inner: OnPolicyFeed, site: Site) -> None:
        self._source, self._inner, self._site = source, inner, site
        self.total = inner.total
        self._windows = 0
        self._kept: list[tuple[int, Group]] = []

    def next(self) -> Window | None:
        if self._windows >= self.total:
            return None
        return Window(groups=tuple(self.draw(self._site.settings.batch)))

    def draw(self, n: int) -> list[Group]:
        old = n - self._source.fresh_of(n, len(self._kept))
        picked = stream(self._site.seed, "replay", self._windows).sample(range(len(self._kept)), old)
        groups = [self._kept[i][1] for i in sorted(picked)]
        new = self._inner.draw(n - old)
        self._kept = [*self._kept, *((self._windows, g) for g in new)][-self._source.capacity :]
        self._windows += 1
        return [*new, *groups]

    def state(self) -> dict[str, Any]:
        return {"inner": self._inner.state(), "windows": self._windows, "kept": [[step, encode_group(g)] for step, g in self._kept]}

    def restore(self, state: dict[str, Any]) -> None:
        self._inner.restore(state["inner"])
        self._windows = state["windows"]
        self._kept = [(step, decode_group(g)) for step, g in state["kept"]]
