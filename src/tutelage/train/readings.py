"""What further models read while a student learns: told beforehand for a plan, and charged as it happens. Torch-free.

A teacher that is distilled from scores texts inside a fit: one text read is one call, its tokens are input. Nothing here knows a ledger; a
fit is given `Charges` and tells them of every reading before it is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from tutelage.records import ModelRef

if TYPE_CHECKING:
    from tutelage.objectives.term import Objective
    from tutelage.train.feeds import Feed, Site
    from tutelage.train.settings import FitSettings
    from tutelage.train.sources import Source
    from tutelage.train.targets import Targets
    from tutelage.train.watch import Watch
    from tutelage.train.window import Group, Row, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """A model that targets or hooks ask, and which texts of a window it reads."""

    ref: ModelRef
    role: str = ""
    """The role of the handle that was given; empty where a bare ModelRef was."""
    offers: frozenset[str] = frozenset()
    """Quantities that it is asked for; it is not asked where no term takes one."""
    over: str = ""
    """Reads the rows of this role alone, where there is one."""
    kept: bool = False
    """Rows that are known beforehand are read once and remembered."""
    reference: bool = False
    """Asked nothing where it is the student as it was before the first step."""


class Charges(Protocol):
    """Whom the readings of one fit are charged to."""

    def read(self, ref: ModelRef, role: str, rows: Sequence[Row]) -> None:
        """Called before the model reads these rows. `BudgetExhausted` where they do not fit."""
        ...

    def afford(self, ref: ModelRef, role: str, rows: Sequence[Row]) -> None:
        """`BudgetExhausted` where these rows would not fit; nothing is charged."""
        ...

    def state(self) -> dict[str, Any]:
        """All that was charged in this fit so far, as JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue behind a checkpoint at which that much had been charged."""
        ...


class Charging(Protocol):
    """Opens an account for every fit of a run."""

    def open(self, fit: str, who: Callable[[ModelRef, str], str]) -> Charges:
        """For a fit that is going to be done. `who`: (model, role of its handle) -> the role that is charged, empty where none is."""
        ...

    def again(self, fit: str, charged: Mapping[str, Mapping[str, int]]) -> None:
        """For a fit that is found finished: what its record says was charged. Once, however often an arm asks for the fit."""
        ...


def uncharged(ref: ModelRef, role: str, rows: Sequence[Row]) -> None:
    """Where nobody counts: fits outside of a run."""


class Metered:
    """A source whose fit is charged for what further models read. The same windows, and the same key."""

    def __init__(self, source: Source, targets: Targets | None, charges: Charges) -> None:
        self.source, self.targets, self.charges = source, targets, charges

    def describe(self) -> dict[str, Any]:
        return self.source.describe()

    def open(self, site: Site) -> Feed:
        site.reads = self.charges.read  # before hooks and targets open: they read it when they ask
        return _MeteredFeed(self.source.open(site), scorers_of(self.targets), self.charges)


class _MeteredFeed:
    """Looks whether a step can be paid before it is begun, and keeps the account beside the feed's place."""

    def __init__(self, feed: Feed, scorers: Sequence[Scorer], charges: Charges) -> None:
        self._feed, self._scorers, self._charges = feed, scorers, charges
        self._known = {r.key for g in feed.fixed for r in g.rows}

    @property
    def fixed(self) -> Sequence[Group]:
        return self._feed.fixed

    @property
    def total(self) -> int:
        return self._feed.total

    def next(self) -> Window | None:
        window = self._feed.next()
        if window is not None:
            for scorer in self._scorers:
                rows = [r for r in window.rows if scorer.over in ("", r.role) and not (scorer.kept and r.key in self._known)]
                if rows:
                    self._charges.afford(scorer.ref, scorer.role, rows)
        return window

    def state(self) -> dict[str, Any]:
        return {**self._feed.state(), "charged": self._charges.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self._feed.restore(state)
        if "charged" in state:
            self._charges.restore(state["charged"])


# -- beforehand ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Rows of one kind that a source hands out, all of them together."""

    count: int
    characters: float = 0.0
    """Of prompts, and of completions that are there already."""
    most_tokens: int = 0
    """Longest completions of those that are still to be written, added up."""
    role: str = ""
    fixed: bool = False
    """Known before the first step."""

    def share(self, count: int) -> Texts:
        """As many of the same kind."""
        part = count / self.count if self.count else 0.0
        return replace(self, count=count, characters=self.characters * part, most_tokens=round(self.most_tokens * part))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Texts that a model will read."""

    scorer: Scorer
    texts: Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """What a source will do, known from its description alone. Rows that turn out too long for a context are still in it."""

    rows: tuple[Texts, ...] = ()
    """Of all windows."""
    known: tuple[Texts, ...] = ()
    """Different rows that are there before the first step."""
    readings: tuple[Reading, ...] = ()
    """By the source's own hooks."""

    def __add__(self, other: Foretold) -> Foretold:
        return Foretold(rows=self.rows + other.rows, known=self.known + other.known, readings=self.readings + other.readings)


def scorers_of(targets: Any) -> tuple[Scorer, ...]:
    """The models that targets ask; none for targets that ask no other model."""
    return getattr(targets, "scorers", ()) if targets is not None else ()


def asks_others(source: Any, targets: Any, who: Callable[[ModelRef, str], str]) -> bool:
    """Whether a fit has further models read or write."""
    hooks = [getattr(source, name, None) for name in ("edit", "reward", "marks")]
    inner = [getattr(source, "source", None), *(part for part, _ in getattr(source, "parts", ()))]
    return (
        any(who(scorer.ref, scorer.role) for scorer in scorers_of(targets))
        or any(hasattr(hook, "reads") or hasattr(hook, "rehearse") for hook in hooks)
        or any(asks_others(part, None, who) for part in inner if part is not None)
    )


def readings(source: Any, targets: Any, objective: Objective, settings: FitSettings, watch: Watch | None = None) -> list[Reading]:
    """All that is read in a fit. Exact where every text is charged by every term of its role; where a mask leaves whole windows out, or a
    watch stops early, it is the most that can be read. Of a source that cannot foretell itself, nothing."""
    course = _foretold(source, settings)
    found = list(course.readings)
    for scorer in scorers_of(targets):
        seen = [t for t in course.rows if scorer.over in ("", t.role)]
        if scorer.kept:
            seen = [*course.known, *(t for t in seen if not t.fixed), *_watched(watch, times=1)]
        elif objective.takes & scorer.offers:
            seen += _watched(watch, times=_windows(source, settings) // watch.every if watch is not None else 0)
        else:
            seen = []
        found += [Reading(scorer=scorer, texts=t) for t in seen if t.count]
    return found


def _foretold(source: Any, settings: FitSettings) -> Foretold:
    """By the source's own account, or by its windows where it draws nothing but them."""
    if hasattr(source, "foretell"):
        return source.foretell(settings)
    return source.drawn(source.windows(settings)) if hasattr(source, "drawn") else Foretold()


def _windows(source: Any, settings: FitSettings) -> int:
    return len(source.windows(settings)) if hasattr(source, "windows") else 0


def _watched(watch: Watch | None, *, times: int) -> list[Texts]:
    if watch is None or not times:
        return []
    return [texts_of(watch.records).share(times * rows_of(watch.records))]


def rows_of(records: Sequence[Any]) -> int:
    """Rows that records become: two for a pair, or for examples that are compared."""
    return sum(len(r) if isinstance(r, tuple) else 2 if hasattr(r, "chosen") else 1 for r in records)


def texts_of(records: Sequence[Any], *, role: str = "") -> Texts:
    """Examples, pairs and tied examples as rows, each once."""
    return Texts(count=rows_of(records), characters=float(sum(map(_characters, records))), role=role, fixed=True)


def _characters(record: Any) -> int:
    if isinstance(record, tuple):
        return sum(map(_characters, record))
    if hasattr(record, "chosen"):
        return 2 * len(record.prompt.text) + len(record.chosen) + len(record.rejected)
    return len(record.prompt.text) + len(record.completion)


def owed(shares: Sequence[float], done: int, n: int) -> list[int]:
    """Groups that each part of a mixture gives to the `n` that follow `done` ones; what does not divide evenly is carried on."""
    reached, found = 0.0, list[int]()
    for share in shares:
        low, high = reached, reached + share / sum(shares)
        found.append(_between(done + n, low, high) - _between(done, low, high))
        reached = high
    return found


def _between(n: int, low: float, high: float) -> int:
    """How many of the first `n` groups belong to the part that covers [low, high) of the shares: the parts always add up to n."""
    return math.floor(n * high + 1e-9) - math.floor(n * low + 1e-9)


def epochs_of(records: int, settings: FitSettings) -> list[int]:
    """Groups of every window of shuffled epochs; the last window of an epoch holds what is left of it."""
    whole, rest = divmod(records, settings.batch)
    epoch = [settings.batch] * whole + [rest] * bool(rest)
    return (epoch * settings.epochs)[: settings.steps]
