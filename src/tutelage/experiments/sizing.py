"""The largest size of a recipe that fits a teacher budget, found by rehearsing it: nothing is asked and nothing is spent.

A plan can be wrong where it depends on what a writer's replies are worth, so the share of replies that can be used is assumed (`good`), and
the plan's whole range is kept beside what is used in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tutelage.backends.wrappers import price_of
from tutelage.errors import QualityGate, SettingsError, TutelageError
from tutelage.experiments.plan import LOW_YIELD, Rehearsal, rehearse
from tutelage.experiments.request import Request, resolve_settings
from tutelage.journal.ledger import BUDGETED_ROLES, Budget
from tutelage.journal.prices import FREE
from tutelage.report.summary import metric_name

ASSUMED_YIELD = 0.7
"""Share of a writer's replies that can be read, where the caller has nothing better."""
LARGEST = 1_000_000
FAR = 8
"""A size this many times as large asks for more wherever there is more to ask for; also the widest step of the search."""
SIZING_UNITS = ("calls", "tokens", "usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Teacher work of one arm under one seed; with a good writer, as assumed, and with one of low yield."""

    calls: tuple[float, float, float]
    tokens: tuple[float, float, float]
    usd: tuple[float, float, float] | None
    """None where a price is not known."""

    def of(self, unit: str) -> tuple[float, float, float]:
        found: dict[str, tuple[float, float, float] | None] = {"calls": self.calls, "tokens": self.tokens, "usd": self.usd}
        amounts = found[unit]
        if amounts is None:
            raise SettingsError(
                "budget in usd, but the price of a teacher's model is not known",
                fix="name a TOML file with its price in TUTELAGE_PRICES, or give the budget in calls or tokens",
            )
        return amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """A request of one arm, sized to the budget."""

    request: Request
    sizes: Mapping[str, int]
    """The settings that were sized; empty where the teacher is never asked."""
    planned: Planned
    fits: bool
    """False where even the smallest size is too dear: its plan is in `planned`."""
    exhausted: bool
    """True where a larger size would ask nothing more."""
    fixed: bool = False
    """True where that is so since the teacher's work has nothing to do with the size, which is then the preset's own, and not since the
    task has no more to ask about."""
    measured: Mapping[str, str]
    """Metric -> fingerprint of how it would be measured."""


def size_request(request: Request, budget: Budget, *, good: float = ASSUMED_YIELD, largest: int = LARGEST) -> Sized:
    """Size the one arm of `request`, to `largest` at most. What costs as much at its smallest as in its preset is not starved for a budget
    that it does not use: it keeps the preset's size, or the one that the user has set."""
    [arm] = request.arms
    card = request.recipe.card
    roles = request.recipe.arms[arm].needs if request.recipe.arms[arm].needs is not None else card.needs
    probe = _Probe(request, budget, good, largest)
    if not BUDGETED_ROLES & set(roles or ()):
        return probe.sized({}, fits=True, exhausted=True)
    if not card.size:
        raise SettingsError(
            f"recipe '{request.recipe.name}' asks its teacher and names no setting to size it by",
            got="CARD.size is empty",
            fix="name in CARD.size the whole-number setting that scales its teacher's work",
        )
    pinned = request.asked.get("overrides", {})
    floor = max(1, card.size_floor)
    own = min(largest, max(floor, _preset(request, card.size)))
    if card.size in pinned and not probe.alike(floor, own, FAR * own):
        raise SettingsError(
            f"setting '{card.size}' of recipe '{request.recipe.name}' is what the budget decides",
            got=f"{card.size}={pinned[card.size]}",
            fix="leave it out, or use `tutelage run`",
        )
    if probe.asks(floor) and not any(probe.cost(floor)):
        raise SettingsError(
            "a budget in usd bounds nothing where the models that are asked cost no money",
            got=", ".join(f"{unit}={cap:g}" for unit, cap in _caps(budget)),
            fix="give the budget in calls or tokens",
        )
    if not probe.fits(floor):
        return probe.sized(probe.sizes(floor), fits=False, exhausted=False)
    if probe.alike(floor, own, FAR * own):
        return probe.sized(probe.sizes(own), fits=True, exhausted=True, fixed=True)
    fitting, too_large = floor, None
    guess = min(largest, max(floor + 1, own))
    while too_large is None or too_large - fitting > 1:
        if not probe.fits(guess):
            too_large = guess
        elif too_large is None and guess > fitting and probe.cost(guess) == probe.cost(fitting):
            # What asks every few steps costs the same at two sizes that are near: a much larger one tells whether there is more to ask.
            far = min(largest, FAR * guess)
            if probe.cost(far) == probe.cost(fitting):
                return probe.sized(probe.sizes(probe.smallest_like(fitting, floor)), fits=True, exhausted=largest == LARGEST)
            fitting, too_large = (far, None) if probe.fits(far) else (guess, far)
        else:
            fitting = guess
        if too_large is None and fitting >= largest:
            return probe.sized(probe.sizes(fitting), fits=True, exhausted=False)
        guess = probe.next_guess(fitting, too_large)
    return probe.sized(probe.sizes(fitting), fits=True, exhausted=False)


def _preset(request: Request, name: str) -> int:
    value = request.settings
    for part in name.split("."):  # nested settings as --set names them
        value = getattr(value, part, None)
    if not isinstance(value, int) or isinstance(value, bool):
        raise SettingsError(
            f"recipe '{request.recipe.name}' cannot be sized by '{name}'", got=repr(value), fix="a size is a whole-number setting"
        )
    return value


class _Probe:
    """Plans of one arm at different sizes, each made once."""

    def __init__(self, request: Request, budget: Budget, good: float, largest: int) -> None:
        self._request = request
        self._budget = budget
        self._good = good
        self._seen: dict[int, Planned] = {}
        self._assumed: dict[int, Rehearsal] = {}
        self._largest = largest
        self._turns = 0

    def sizes(self, n: int) -> dict[str, int]:
        """Every sized setting where the leading one is `n`; what the user has set stays as it is."""
        card = self._request.recipe.card
        pinned = self._request.asked.get("overrides", {})
        lead = _preset(self._request, card.size)
        along = {
            name: max(floor, round(_preset(self._request, name) * n / lead))
            for name, floor in card.size_along.items()
            if name not in pinned
        }
        return {card.size: n, **along}

    def cost(self, n: int) -> tuple[float, ...]:
        """What `n` takes, in the units of the budget."""
        plan = self._plan(n)
        return tuple(plan.of(unit)[1] for unit, _ in _caps(self._budget))

    def asks(self, n: int) -> bool:
        """Whether a teacher, or another model on the budget, is asked anything."""
        return self._plan(n).calls[1] > 0

    def alike(self, *sizes: int) -> bool:
        """Whether these sizes, of which the later are only looked at while the earlier are alike, take the same."""
        return all(self.cost(n) == self.cost(sizes[0]) for n in sizes[1:])

    def fits(self, n: int) -> bool:
        return n <= self._largest and all(amount <= cap for amount, (_, cap) in zip(self.cost(n), _caps(self._budget), strict=True))

    def next_guess(self, fitting: int, too_large: int | None) -> int:
        """Between what fits and what does not: in turn where the budget would be met if cost grew evenly, and the middle, which bounds how
        many plans are made."""
        share = max((amount / cap for amount, (_, cap) in zip(self.cost(fitting), _caps(self._budget), strict=True)), default=1.0)
        straight = int(fitting / share) if share else LARGEST
        if too_large is None:
            return min(self._largest + 1, max(fitting + 1, min(straight, FAR * fitting)))
        self._turns += 1
        guess = straight if self._turns % 2 else (fitting + too_large) // 2
        return min(max(guess, fitting + 1), too_large - 1)

    def smallest_like(self, n: int, floor: int) -> int:
        """The smallest size that asks as much as `n` does."""
        low = floor - 1
        while n - low > 1:
            middle = (n + low) // 2
            if self.cost(middle) == self.cost(n):
                n = middle
            else:
                low = middle
        return n

    def sized(self, sizes: Mapping[str, int], *, fits: bool, exhausted: bool, fixed: bool = False) -> Sized:
        request = self._at(sizes)
        n = next(iter(sizes.values()), 0)
        plan = self._plan(n, whole=True)
        measured = {metric_name({"name": c.name, "metric": c.metric, "shots": c.shots}): c.fingerprint for c in self._assumed[n].scorecards}
        return Sized(request=request, sizes=dict(sizes), planned=plan, fits=fits, exhausted=exhausted, fixed=fixed, measured=measured)

    def _at(self, sizes: Mapping[str, int]) -> Request:
        overrides = {**self._request.asked.get("overrides", {}), **sizes}
        return replace(
            self._request,
            settings=resolve_settings(self._request.recipe, self._request.preset, overrides),
            asked={**self._request.asked, "overrides": overrides},
        )

    def _plan(self, n: int, *, whole: bool = False) -> Planned:
        """At the assumed yield; the `whole` range where it is to be shown."""
        if n in self._seen and not whole:
            return self._seen[n]
        request = self._at(self.sizes(n) if n else {})
        if n not in self._assumed:
            self._assumed[n] = self._rehearsed(request, self._good)
        middle = self._assumed[n]
        ends = [self._rehearsed(request, 1.0), self._rehearsed(request, LOW_YIELD)] if whole else [middle, middle]
        plans = [ends[0], middle, ends[1]]
        calls, tokens, usd = zip(*(self._amounts(found) for found in plans), strict=True)
        self._seen[n] = Planned(
            calls=(min(calls), calls[1], max(calls)),
            tokens=(min(tokens), tokens[1], max(tokens)),
            usd=None if None in usd else (min(usd), usd[1], max(usd)),
        )
        return self._seen[n]

    def _rehearsed(self, request: Request, good: float) -> Rehearsal:
        """A writer of low yield may leave too little to go on with; then the plan of a better one is the honest upper end."""
        [arm] = request.arms
        try:
            found = rehearse(request, arm, good=good)
            if found.stopped is not None:
                found = rehearse(request, arm, good=1.0)
        except TutelageError as error:
            raise type(error)(f"{request.recipe.name} on {request.task.name}: {error.message}", got=error.got, fix=error.fix) from error
        if found.stopped is not None:
            why = QualityGate(found.stopped.message, got=found.stopped.got, fix=found.stopped.fix)
            raise SettingsError(f"recipe '{request.recipe.name}' cannot be planned on this task: {why.message}", got=why.got, fix=why.fix)
        return found

    def _amounts(self, found: Rehearsal) -> tuple[float, float, float | None]:
        calls = tokens = 0.0
        usd: float | None = 0.0
        for role, count in found.roles.items():
            if role in BUDGETED_ROLES:
                calls += count.calls
                tokens += count.prompts[1] + count.long
                given = self._request.models.get(role)  # a role that the run trains itself, such as a reward model, costs no money
                price = price_of(given[0]) if given is not None else FREE
                if price is None or usd is None:
                    usd = None
                else:
                    usd += price.picodollars(prompt_tokens=count.prompt, completion_tokens=round(count.long)) / 1e12
        return calls, tokens, usd


def _caps(budget: Budget) -> list[tuple[str, float]]:
    """The units of a budget that a size can be found for."""
    amounts = {"calls": budget.calls, "tokens": budget.tokens, "usd": budget.usd}
    return [(unit, float(amount)) for unit, amount in amounts.items() if amount is not None]


def sizing_budget(text: str | None) -> Budget:
    """The budget per recipe and seed that recipes are sized to, from `calls=1500`, `tokens=200k` or `usd=0.50`."""
    if not text:
        raise SettingsError("a comparison needs a budget", fix="--budget calls=1500 (or tokens=200k, usd=0.50): for each recipe and seed")
    budget = Budget.parse(text)
    if budget.minutes is not None:
        raise SettingsError("recipes cannot be sized by minutes", got=text, fix=f"give {', '.join(SIZING_UNITS)}")
    if 0 in (budget.calls, budget.tokens, budget.picodollars):
        raise SettingsError("recipes cannot be sized to a budget of nothing", got=text, fix="give more than 0")
    return budget
