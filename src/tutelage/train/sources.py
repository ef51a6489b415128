"""Where windows come from, as descriptions that recipes can write down. Torch-free: the feeds behind them open when a fit starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tutelage.errors import DataError, SettingsError, did_you_mean
from tutelage.hashing import content_id
from tutelage.records import Example, Pair, Prompt
from tutelage.select.domain_weights import ExcessLoss, Reweighing, shares_of
from tutelage.train.readings import Foretold, Reading, Scorer, Texts, epochs_of, owed, rows_of, texts_of

if TYPE_CHECKING:
    from tutelage.engine.rendering import Rendering
    from tutelage.train.feeds import Feed, Site
    from tutelage.train.mixing import Drawing
    from tutelage.train.settings import FitSettings

_ADVANTAGES = ("group", "group_mean", "leave_one_out", "reward")


@runtime_checkable
class Source(Protocol):
    """A description of windows. `describe` holds all that could change them; `open` gives the windows themselves."""

    def describe(self) -> dict[str, Any]: ...

    def open(self, site: Site) -> Feed: ...


@runtime_checkable
class EndlessSource(Protocol):
    """A source whose feed can hand out any number of groups: what mixtures, selections and buffers are made of."""

    def describe(self) -> dict[str, Any]: ...

    def open(self, site: Site) -> Drawing: ...

    def windows(self, settings: FitSettings) -> list[int]:
        """Groups of every window, where the source stands alone."""
        ...

    def drawn(self, groups: Sequence[int]) -> Foretold:
        """What drawing so many groups, time after time, comes to."""
        ...


class Fixed:
    """The same examples or pairs in every epoch, shuffled anew for each from a named stream.

    `role` names the rows of examples for terms that charge one role only, beside rollouts in a mixture: `cross_entropy(over="given")`.
    """

    __slots__ = ("records", "role")

    def __init__(self, records: Sequence[Example | Pair], *, role: str = "") -> None:
        kinds = {type(r).__name__ for r in records}
        if not kinds <= {"Example", "Pair"}:
            raise DataError("fixed data must be examples or pairs", got=", ".join(sorted(kinds)), fix="turn them into Example records")
        if len(kinds) > 1:
            raise DataError("fixed data mixes examples and pairs", got=", ".join(sorted(kinds)), fix="fit them one after the other")
        if role and kinds == {"Pair"}:
            raise SettingsError("the rows of a pair have roles of their own", got=role, fix="leave role empty")
        self.records, self.role = tuple(records), role

    def describe(self) -> dict[str, Any]:
        body = {"source": "fixed", "n": len(self.records), "records": content_id([r.id for r in self.records])}
        return body | ({"role": self.role} if self.role else {})

    def open(self, site: Site) -> Drawing:
        from tutelage.train.feeds import FixedFeed

        return FixedFeed(self.records, site, role=self.role)

    def windows(self, settings: FitSettings) -> list[int]:
        return epochs_of(len(self.records), settings)

    def drawn(self, groups: Sequence[int]) -> Foretold:
        known = texts_of(self.records, role=self.role)
        each = rows_of(self.records[:1])
        return Foretold(rows=(known.share(sum(groups) * each),), known=(known,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One completion that the student wrote during a fit. An edit hook returns changed copies."""

    prompt: Prompt
    place: int
    """Index of the prompt in the source."""
    number: int
    """Counts prompts over the whole fit."""
    sample: int
    ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    """Of the student when it wrote them, one per id."""
    text: str
    """Up to the first stop text, as a completion's; the ids hold it."""
    finish: str
    keep: int | None = None
    """Ids kept from the student; None for all."""
    new: str | None = None
    """What follows them instead, where the rollout was edited."""
    reward: float = 0.0
    weight: float = 1.0
    """0 leaves it out."""

    def replaced(self, text: str) -> Rollout:
        """With another completion altogether."""
        return self.spliced(0, text)

    def spliced(self, keep: int, text: str) -> Rollout:
        """The first `keep` ids as the student wrote them, then `text`. The new tokens have behaviour log-probability 0 (unknown)."""
        return replace(self, keep=keep, new=text)

    def dropped(self) -> Rollout:
        return replace(self, weight=0.0)

    def final_ids(self, rendering: Rendering) -> tuple[int, ...]:
        """What is trained on: the ids kept from the student, then the text written instead of the others, with its end."""
        return (*self.ids[: self.keep], *(rendering.completion_ids(self.new) if self.new is not None else ()))


Edit = Callable[[Sequence[Rollout]], Sequence[Rollout]]
"""Replace, splice or repair: as many rollouts out as in, in order."""
Reward = Callable[[Sequence[Rollout]], Sequence[float]]
Facts = Mapping[str, float | Sequence[float]]
"""One number per id of a rollout, or one for all of them, by name."""
Marks = Callable[[Sequence[Rollout]], Sequence[Facts]]
"""Facts of the rollouts of one prompt, edited and rewarded, for terms that charge marked tokens only."""


@runtime_checkable
class Live(Protocol):
    """A hook of a source that looks at the live student or at further models: the description of one, opened when the fit starts."""

    def describe(self) -> Any: ...

    def open(self, site: Site) -> Callable[..., Any]: ...


@runtime_checkable
class Reads(Protocol):
    """A hook that has a further model read rollouts: which one, and how often it reads each."""

    @property
    def reads(self) -> tuple[Scorer, int]: ...


@runtime_checkable
class Asks(Protocol):
    """An edit that asks further models while the fit runs, and can say beforehand how much."""

    def rehearse(self, *, prompts: int, samples: int) -> None: ...


class OnPolicy:
    """Completions of the live student to the given prompts, `samples` each, edited and rewarded before they become a window."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int,
        samples: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        edit: Edit | Live | None = None,
        reward: Reward | Live | None = None,
        marks: Marks | Live | None = None,
        advantage: str = "group",
        reuse: int = 1,
    ) -> None:
        """`advantage`: `group` (over the group's standard deviation), `group_mean`, `leave_one_out`, or the plain `reward`.
        `marks` come after the rewards, prompt by prompt. `reuse`: windows that are made of the same rollouts one after another."""
        if advantage not in _ADVANTAGES:
            raise SettingsError("on-policy source has no such advantage", got=advantage, fix=did_you_mean(advantage, _ADVANTAGES))
        if max_tokens < 1 or samples < 1 or reuse < 1:
            raise SettingsError(
                "on-policy source needs max_tokens, samples and reuse of at least 1", got=f"{max_tokens}, {samples}, {reuse}"
            )
        if reward is not None and samples < 2 and advantage != "reward":
            raise SettingsError("a group of one rollout has no baseline", got=f"samples={samples}", fix="draw several samples per prompt")
        if samples > 1 and temperature == 0:
            raise SettingsError("several samples at temperature 0 are all the same", got=f"samples={samples}", fix="set a temperature")
        self.prompts, self.max_tokens, self.samples = tuple(prompts), max_tokens, samples
        self.temperature, self.top_p, self.stop = temperature, top_p, tuple(stop)
        self.edit, self.reward, self.marks, self.advantage, self.reuse = edit, reward, marks, advantage, reuse

    def describe(self) -> dict[str, Any]:
        return {
            "source": "on-policy",
            "prompts": content_id([p.id for p in self.prompts]),
            "n": len(self.prompts),
            "sampling": [self.max_tokens, self.samples, self.temperature, self.top_p, list(self.stop)],
            "edit": identity_of(self.edit),
            "reward": identity_of(self.reward),
            "advantage": self.advantage,
            "reuse": self.reuse,
            **({"marks": identity_of(self.marks)} if self.marks is not None else {}),  # so that fits without any keep their keys
            **({"charged": "as drawn"} if self.temperature != 1.0 else {}),
        }

    def rehearse(self, settings: FitSettings) -> None:
        """Ask further models what the edit would ask of them, for a plan's count; nothing else happens."""
        if isinstance(self.edit, Asks):
            self.edit.rehearse(prompts=settings.batch, samples=self.samples)

    def open(self, site: Site) -> Drawing:
        from tutelage.train.rollouts import OnPolicyFeed

        return OnPolicyFeed(self, site)

    def windows(self, settings: FitSettings) -> list[int]:
        steps = settings.steps or math.ceil(len(self.prompts) / settings.batch) * settings.epochs * self.reuse
        return [settings.batch] * steps

    def drawn(self, groups: Sequence[int]) -> Foretold:
        rows = self._rollouts(sum(groups))
        hooks = [hook.reads for hook in (self.edit, self.reward, self.marks) if isinstance(hook, Reads)]
        return Foretold(rows=(rows,), readings=tuple(Reading(scorer=who, texts=rows.share(rows.count * times)) for who, times in hooks))

    def foretell(self, settings: FitSettings) -> Foretold:
        windows = self.windows(settings)
        return replace(self.drawn(windows[:: self.reuse]), rows=(self._rollouts(sum(windows)),))

    def _rollouts(self, groups: int) -> Texts:
        characters = sum(len(p.text) for p in self.prompts) / max(1, len(self.prompts))
        n = groups * self.samples
        return Texts(count=n, characters=characters * n, most_tokens=self.max_tokens * n, role="own")


class Replay:
    """An on-policy source with a memory: `fresh` of each window is new, the rest is drawn from the last `capacity` groups."""

    def __init__(self, source: OnPolicy, *, capacity: int, fresh: float = 0.5) -> None:
        if not 0 < fresh <= 1:
            raise SettingsError("replay needs a fresh share in (0, 1]", got=fresh)
        self.source, self.capacity, self.fresh = source, capacity, fresh

    def describe(self) -> dict[str, Any]:
        return {"source": "replay", "inner": self.source.describe(), "capacity": self.capacity, "fresh": self.fresh}

    def open(self, site: Site) -> Drawing:
        from tutelage.train.rollouts import OnPolicyFeed, ReplayFeed

        return ReplayFeed(self, OnPolicyFeed(self.source, site, once=False), site)

    def windows(self, settings: FitSettings) -> list[int]:
        return self.source.windows(settings)

    def drawn(self, groups: Sequence[int]) -> Foretold:
        new, kept = list[int](), 0
        for n in groups:
            new.append(self.fresh_of(n, kept))
            kept = min(self.capacity, kept + new[-1])
        return replace(self.source.drawn(new), rows=self.source.drawn(groups).rows)

    def fresh_of(self, n: int, kept: int) -> int:
        """Of `n` groups, how many are new where the memory holds so many."""
        return n - min(kept, n - max(1, round(n * self.fresh)))


class Mixture:
    """Windows made of several sources by share, for example off-policy examples beside on-policy rollouts. Needs `steps`."""

    def __init__(self, *parts: tuple[EndlessSource, float]) -> None:
        if any(not share > 0 for _, share in parts) or not parts:
            raise SettingsError("a mixture needs parts with positive shares", got=[share for _, share in parts])
        self.parts = parts

    def describe(self) -> dict[str, Any]:
        return {"source": "mixture", "parts": [[s.describe(), share] for s, share in self.parts]}

    def open(self, site: Site) -> Feed:
        from tutelage.train.mixing import MixtureFeed

        return MixtureFeed(self, [source.open(site) for source, _ in self.parts], site)

    def windows(self, settings: FitSettings) -> list[int]:
        return [settings.batch] * (settings.steps or 0)

    def foretell(self, settings: FitSettings) -> Foretold:
        shares, windows = [share for _, share in self.parts], range(settings.steps or 0)
        by_part = zip(*(owed(shares, n * settings.batch, settings.batch) for n in windows), strict=True)
        drawn = [source.drawn([n for n in mine if n]) for (source, _), mine in zip(self.parts, by_part, strict=True)]
        return sum(drawn, start=Foretold())


class Domains:
    """Fixed data in named domains. Every `every` windows, the first included, each domain's loss is measured on held-out examples of it,
    and a rule says how often each domain is drawn from then on. Needs `steps`.

    What was measured and drawn is in the fit's record, under `domains`.
    """

    def __init__(
        self,
        domains: Mapping[str, Sequence[Example]],
        *,
        every: int,
        probes: int | Mapping[str, Sequence[Example]] = 16,
        floor: Mapping[str, float] | None = None,
        rule: Reweighing | None = None,
        first: Mapping[str, float] | None = None,
        dealt: bool = False,
    ) -> None:
        """`probes`: held-out examples of each domain, or how many of its own examples to measure on. `floor`: per domain the loss that
        cannot be undercut, in nats per token. `rule`: `ExcessLoss()` by default. `first`: shares of the domains in the first `every`
        windows, where they are others than the rule's. `dealt`: what was measured is dealt out among the domains anew each time (a
        control)."""
        if every < 1 or not domains or (isinstance(probes, int) and probes < 1):
            raise SettingsError("domains need data, and every and probes of at least 1", got=f"{len(domains)}, {every}, {probes}")
        if not isinstance(probes, int) and (lacking := [name for name in domains if not probes.get(name)]):
            raise DataError("domain has no held-out example to measure its loss on", got=", ".join(lacking), fix="hold some back for each")
        self.domains = {name: Fixed(records) for name, records in domains.items()}
        self.every, self.floor, self.dealt = every, dict(floor or {}), dealt
        self.probes = probes if isinstance(probes, int) else {name: Fixed(probes[name]) for name in domains}
        self.rule: Reweighing = ExcessLoss() if rule is None else rule
        self.first = None if first is None else shares_of(first, domains)

    @property
    def records(self) -> tuple[Example | Pair, ...]:
        """Of all domains, one after another."""
        return tuple(r for source in self.domains.values() for r in source.records)

    def describe(self) -> dict[str, Any]:
        probes = self.probes if isinstance(self.probes, int) else {name: held.describe() for name, held in self.probes.items()}
        return {
            "source": "domains",
            "domains": {name: source.describe() for name, source in self.domains.items()},
            "weights": [self.every, probes, self.floor, self.rule.describe(), self.first, self.dealt],
        }

    def open(self, site: Site) -> Feed:
        from tutelage.train.feeds import FixedFeed
        from tutelage.train.mixing import DomainsFeed

        feeds = {name: FixedFeed(source.records, site) for name, source in self.domains.items()}
        if isinstance(self.probes, int):
            probes = {name: feed.fixed[: self.probes] for name, feed in feeds.items()}
        else:
            probes = {name: FixedFeed(held.records, site).fixed for name, held in self.probes.items()}
        return DomainsFeed(self, feeds, probes, site)

    def windows(self, settings: FitSettings) -> list[int]:
        return [settings.batch] * (settings.steps or 0)

    def drawn(self, groups: Sequence[int]) -> Foretold:
        known = texts_of(self.records)
        return Foretold(rows=(known.share(sum(groups)),), known=(known,))


class Selected:
    """For each window a pool of `pool` times its size is read by the live student, and the groups with the highest loss are kept
    (the lowest with `hardest=False`)."""

    def __init__(self, source: EndlessSource, *, pool: int = 4, hardest: bool = True) -> None:
        if pool < 2:
            raise SettingsError("selection needs a pool of at least twice the window", got=pool)
        self.source, self.pool, self.hardest = source, pool, hardest

    def describe(self) -> dict[str, Any]:
        return {"source": "selected", "inner": self.source.describe(), "pool": self.pool, "hardest": self.hardest}

    def open(self, site: Site) -> Drawing:
        from tutelage.train.mixing import SelectedFeed

        return SelectedFeed(self.source.open(site), pool=self.pool, hardest=self.hardest, site=site)

    def windows(self, settings: FitSettings) -> list[int]:
        return [settings.batch] * (settings.steps or len(self.source.windows(settings)))

    def drawn(self, groups: Sequence[int]) -> Foretold:
        return replace(self.source.drawn([n * self.pool for n in groups]), rows=self.source.drawn(groups).rows)


def identity_of(function: Any) -> Any:
    """What stands for a hook in the fit's key: its `describe()` where it has one, else its full name. A nameless function is refused,
    because two different ones could not be told apart."""
    if function is None:
        return None
    if hasattr(function, "describe"):
        return function.describe()
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    if "<" in name or name.endswith(":"):
        raise SettingsError(
            "a hook needs an identity for the fit's key", got=name, fix="use a function at module level, or give it describe()"
        )
    return name
