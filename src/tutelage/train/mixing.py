"""Windows put together from several feeds, or chosen by what the live student finds hard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tutelage.errors import SettingsError
from tutelage.seeds import stream
from tutelage.select.domain_weights import even
from tutelage.train.feeds import Feed, FixedFeed, Site
from tutelage.train.oracle import by_row, log_probs
from tutelage.train.readings import owed
from tutelage.train.window import Group, Window

if TYPE_CHECKING:
    from tutelage.train.sources import Domains, Mixture


class Drawing(Feed, Protocol):
    """A feed that can also hand out any number of groups, without end."""

    def draw(self, n: int) -> list[Group]: ...


class MixtureFeed:
    """Every window holds groups of each part by its share; what does not divide evenly is carried to the next window."""

    def __init__(self, source: Mixture, parts: Sequence[Drawing], site: Site) -> None:
        self._source, self._parts, self._site = source, parts, site
        self.fixed = [g for feed in parts for g in feed.fixed]
        self.total = _steps(site, "a mixture")
        self._windows = 0

    def next(self) -> Window | None:
        if self._windows >= self.total:
            return None
        groups = owed([share for _, share in self._source.parts], self._windows * self._site.settings.batch, self._site.settings.batch)
        self._windows += 1
        return Window(groups=tuple(g for feed, n in zip(self._parts, groups, strict=True) if n for g in feed.draw(n)))

    def state(self) -> dict[str, Any]:
        return {"windows": self._windows, "parts": [feed.state() for feed in self._parts]}

    def restore(self, state: dict[str, Any]) -> None:
        self._windows = state["windows"]
        for feed, place in zip(self._parts, state["parts"], strict=True):
            feed.restore(place)


class DomainsFeed:
    """Fixed data in domains whose weights follow the live student: every K windows each domain's loss is measured again."""

    def __init__(self, source: Domains, domains: Mapping[str, FixedFeed], probes: Mapping[str, Sequence[Group]], site: Site) -> None:
        self._source, self._domains, self._probes, self._site = source, dict(domains), probes, site
        self.fixed = [g for feed in domains.values() for g in feed.fixed]
        self.total = _steps(site, "weighted domains")
        self._windows = 0
        self.weights = even(domains)
        """Of the rule."""
        self._drawn_by = self.weights
        self._tell(history=[], drawn=dict.fromkeys(domains, 0), tokens=dict.fromkeys(domains, 0))

    def _tell(self, *, history: list[dict[str, Any]], drawn: dict[str, int], tokens: dict[str, int]) -> None:
        self.history, self._drawn, self._tokens = history, drawn, tokens
        sizes = {name: len(feed.fixed) for name, feed in self._domains.items()}
        self._site.told["domains"] = {"intervals": history, "drawn": drawn, "tokens": tokens, "examples": sizes}

    def next(self) -> Window | None:
        if self._windows >= self.total:
            return None
        if self._windows % self._source.every == 0:
            self._measure()
        random = stream(self._site.seed, "domains", self._windows)
        names = list(self._domains)
        drawn = random.choices(names, [self._drawn_by[n] for n in names], k=self._site.settings.batch)
        self._windows += 1
        groups: list[Group] = []
        for name in names:
            mine = self._domains[name].draw(drawn.count(name))
            self._drawn[name] += len(mine)
            self._tokens[name] += sum(g.tokens for g in mine)
            groups += mine
        return Window(groups=tuple(groups))

    def _measure(self) -> None:
        losses = {name: mean_loss(groups, self._site) for name, groups in self._probes.items()}
        seen, floor = self._dealt(losses) if self._source.dealt else (losses, self._source.floor)
        rule, opening = self._source.rule, not self._windows
        self.weights = rule.start(seen, floor) if opening else rule.after(self.weights, seen, floor)
        self._drawn_by = self._source.first or self.weights if opening else self.weights
        self.history.append({"window": self._windows, "losses": losses, "weights": self.weights, "drawn_by": self._drawn_by})

    def _dealt(self, losses: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        """Losses and floors of domains under the names of others, in a new order at each measurement."""
        names = list(losses)
        others = dict(zip(names, stream(self._site.seed, "dealt", self._windows).sample(names, k=len(names)), strict=True))
        floor = self._source.floor
        return {n: losses[o] for n, o in others.items()}, {n: floor[o] for n, o in others.items() if o in floor}

    def state(self) -> dict[str, Any]:
        places = {name: feed.state() for name, feed in self._domains.items()}
        told = {"history": self.history, "drawn": self._drawn, "tokens": self._tokens}
        return {"windows": self._windows, "weights": self.weights, "drawn_by": self._drawn_by, "domains": places, **told}

    def restore(self, state: dict[str, Any]) -> None:
        self._windows, self.weights, self._drawn_by = state["windows"], dict(state["weights"]), dict(state["drawn_by"])
        self._tell(history=list(state["history"]), drawn=dict(state["drawn"]), tokens=dict(state["tokens"]))
        for name, place in state["domains"].items():
            self._domains[name].restore(place)


class SelectedFeed:
    """From a pool that is a few times a window, the groups that the live student finds hardest (or easiest)."""

    def __init__(self, inner: Drawing, *, pool: int, hardest: bool, site: Site) -> None:
        self._inner, self._pool, self._hardest, self._site = inner, pool, hardest, site
        self.fixed, self.total = inner.fixed, inner.total if site.settings.steps is None else site.settings.steps
        self._windows = 0

    def next(self) -> Window | None:
        if self._windows >= self.total:
            return None
        self._windows += 1
        return Window(groups=tuple(self.draw(self._site.settings.batch)))

    def draw(self, n: int) -> list[Group]:
        """Selection is complete before the window is: the loop never sees the groups that were left out."""
        pool = self._inner.draw(n * self._pool)
        losses = group_losses(pool, self._site)
        ranked = sorted(range(len(pool)), key=lambda i: (-losses[i] if self._hardest else losses[i], i))
        return [pool[i] for i in sorted(ranked[:n])]

    def state(self) -> dict[str, Any]:
        return {"windows": self._windows, "inner": self._inner.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self._windows = state["windows"]
        self._inner.restore(state["inner"])


def group_losses(groups: Sequence[Group], site: Site) -> list[float]:
    """Mean negative log-probability per charged token of each group, under the live student without dropout."""
    rows = [r for g in groups for r in g.rows]
    found = by_row(site.network, rows, micro_tokens=site.settings.micro_tokens, ask=lambda network, batch: (log_probs(network, batch),))
    sums = {key: (-float(values.double().sum()), values.numel()) for key, (values,) in found.items()}
    return [sum(sums[r.key][0] for r in g.rows) / max(1, sum(sums[r.key][1] for r in g.rows)) for g in groups]


def mean_loss(groups: Sequence[Group], site: Site) -> float:
    """The same over all tokens of all groups."""
    tokens = [sum(len(r.charged) for r in g.rows) for g in groups]
    return sum(x * n for x, n in zip(group_losses(groups, site), tokens, strict=True)) / max(1, sum(tokens))


def _steps(site: Site, what: str) -> int:
    if site.settings.steps is None:
        raise SettingsError(f"{what} has no end of its own", got="steps=None", fix="set steps in FitSettings")
    return site.settings.steps
