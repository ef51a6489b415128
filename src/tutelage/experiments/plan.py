"""What a run would cost, found by running the recipe against a model that answers every prompt with its example and never thinks.

The examples are in the dialect of the model that is asked: what a recipe asks at all can depend on whether its models follow instructions.

Numbers that depend on what models say (how many drafts parse, how many solutions are right) are given as a range: once with a perfect
writer, once with one that yields little. Tokens are estimated at four characters each; completions between a quarter of the longest
allowed and all of it. Money is what these tokens cost at the list price of an endpoint's model; models of this process cost none.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import math
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.backends.wrappers import price_of
from tutelage.capabilities import Completion, ModelFacts, Sampling, TokenScores
from tutelage.errors import QualityGate
from tutelage.experiments.request import Request
from tutelage.hashing import content_id
from tutelage.journal.folder import ArmJournal
from tutelage.journal.prices import FREE, Price, in_words, usd_range
from tutelage.lab import Lab, facts_after
from tutelage.prompts import questions, solve
from tutelage.prompts.dialects import DIALECTS, Dialect
from tutelage.records import ModelRef, Problem, Prompt, Scorecard, Verdict
from tutelage.seeds import stream
from tutelage.train.readings import Texts, readings

CHARACTERS_PER_TOKEN = 4
LOW_YIELD = 0.4
"""Share of replies that can be read, and of solutions that are right, in the unfavourable case. A student that is to be taught is right
this often in the favourable one."""
GARBAGE = "?"
ANSWER = "9"
"""Of every example solution, and of every question of a world that solves its own."""
SHORT_REPLY = 0.25
"""Length of a short completion as a share of the longest allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One role in one arm, per seed; every amount as (low, high)."""

    arm: str
    role: str
    calls: tuple[float, float]
    scored: tuple[float, float]
    """Those of `calls` that are texts read inside trainings. Their number is exact where nothing is masked; their lengths, which the
    student decides, are in the prompt tokens."""
    prompt_tokens: tuple[float, float]
    completion_tokens: tuple[float, float]
    usd: tuple[float, float] | None
    """Dollars, of this arm alone; 0 for models of this process, None where no price is known."""
    fits: int
    examples: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one role behind an endpoint costs over all arms and seeds. Arms share answers, so it is less than the sum of their rows."""

    role: str
    model: str
    calls: tuple[float, float]
    tokens: tuple[float, float]
    usd: tuple[float, float] | None
    """None where no price is known."""
    price: str
    """The list price in words; empty where none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    rows: list[PlanRow]
    unique_teacher_calls: tuple[float, float]
    """Different teacher calls of one seed over all arms: what must be paid, since arms share answers."""
    bills: list[Bill]
    """One per role behind an endpoint; empty when all models are of this process."""
    notes: list[str]

    @property
    def usd(self) -> tuple[float, float] | None:
        """Expected dollars of the whole request; None where the price of a model is not known."""
        amounts = [bill.usd for bill in self.bills]
        return None if None in amounts else (sum(a[0] for a in amounts if a), sum(a[1] for a in amounts if a))

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": [asdict(r) for r in self.rows],
            "unique_teacher_calls": self.unique_teacher_calls,
            "bills": [asdict(b) for b in self.bills],
            "usd": self.usd,
            "notes": self.notes,
        }


@dataclass(slots=True)
class _Count:
    calls: int = 0
    prompt: int = 0
    scored: int = 0
    read_short: float = 0.0
    read_long: float = 0.0
    """Tokens of texts that are read inside trainings and not written yet."""
    short: float = 0.0
    long: float = 0.0
    fits: int = 0
    examples: int = 0
    asked: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Different calls: length of the prompt, and longest completion."""
    fits_read: dict[str, int] = field(default_factory=dict)
    """Texts that are read in the course of each fit."""

    def add(self, key: str, prompt: int, most: int) -> None:
        self.calls += 1
        self.prompt += prompt
        self.short += SHORT_REPLY * most
        self.long += most
        self.asked[key] = (prompt, most)

    def read(self, fit: str, texts: Texts) -> None:
        self.calls += texts.count
        self.scored += texts.count
        self.prompt += math.ceil(texts.characters / CHARACTERS_PER_TOKEN)
        self.read_short += SHORT_REPLY * texts.most_tokens
        self.read_long += texts.most_tokens
        self.fits_read[fit] = self.fits_read.get(fit, 0) + texts.count

    @property
    def prompts(self) -> tuple[float, float]:
        return self.prompt + self.read_short, self.prompt + self.read_long


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What the roles of one rehearsal have written, numbered so that two solutions differ."""

    serial: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    by: dict[str, str] = field(default_factory=dict)
    """Text -> role."""


class _Example:
    """Answers by the kind of the prompt; a share of `1 - good` of the answers is garbage."""

    def __init__(
        self, role: str, ref: ModelRef, count: _Count, *, dialect: Dialect, labels: Sequence[str], good: float, told: _Told
    ) -> None:
        self._role, self._ref, self._count, self._dialect, self._labels, self._good = role, ref, count, dialect, labels, good
        self._noise = stream(0, "plan", role)
        self._told = told

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        return [[self._answer(p, sampling, i) for i in range(sampling.n)] for p in prompts]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]:
        for prompt, text in zip(prompts, completions, strict=True):
            self._count.add(content_id([self._ref.id, prompt.id, text]), _tokens(prompt.text) + _tokens(text), 0)
        return [TokenScores(logprobs=(-1.0,)) for _ in prompts]

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        for text in texts:
            self._count.add(content_id([self._ref.id, text]), _tokens(text), 0)
        return [(1.0,) for _ in texts]

    def classify(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Every class is as likely as the others."""
        for text in texts:
            self._count.add(content_id([self._ref.id, "classify", text]), _tokens(text), 0)
        classes = max(2, len(self._labels))
        return [(1.0 / classes,) * classes for _ in texts]

    def reward(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
        """Of no meaning; different for different completions."""
        for prompt, text in zip(prompts, completions, strict=True):
            self._count.add(content_id([self._ref.id, "reward", prompt.id, text]), _tokens(prompt.text) + _tokens(text), 0)
        return [self._noise.random() for _ in prompts]

    def _answer(self, prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        key = content_id([self._ref.id, prompt.id, sampling.max_tokens, sampling.temperature, sampling.seed, index])
        self._count.add(key, _tokens(prompt.text), sampling.max_tokens)
        if self._noise.random() >= self._good:
            return Completion(text=GARBAGE)
        text = _example_reply(prompt.kind, next(self._told.serial), self._noise, self._dialect)
        text = text[: min((at for stop in sampling.stop if (at := text.find(stop)) >= 0), default=len(text))]
        self._told.by[text.strip()] = self._role
        return Completion(text=text)


def _example_reply(kind: str, serial: int, noise: random.Random, dialect: Dialect) -> str:
    """What the prompt file that the kind names gives as its example; texts differ as a writer's would, so that nothing is dropped as a
    repeat."""
    if kind == "questions":
        return _fresh_questions(serial, noise, dialect)
    name = f"tutelage.prompts.{kind.partition('.')[0] or 'solve'}"
    example = getattr(importlib.import_module(name), "example", solve.example) if importlib.util.find_spec(name) else solve.example
    asked = inspect.signature(example).parameters
    given: dict[str, Any] = {"kind": kind, "serial": serial, "dialect": dialect}
    text = example(**{k: v for k, v in given.items() if k in asked})
    return text if "serial" in asked else f"{text} ({serial})"


def _fresh_questions(serial: int, noise: random.Random, dialect: Dialect) -> str:
    """The example reply with other numbers, so that drafts differ as a writer's would."""
    return questions.example(dialect).replace("A shelf", f"Shelf {serial}-{noise.randint(0, 10**9)}")


def plan_request(request: Request) -> Plan:
    """Run every arm twice against example answers: with a perfect writer, then with one of low yield."""
    high_yield = {arm: _rehearse(request, arm, good=1.0) for arm in request.arms}
    low_yield = {arm: _rehearse(request, arm, good=LOW_YIELD) for arm in request.arms}
    prices = {role: price_of(ref) for role, (ref, _) in request.models.items()}
    rows = []
    for arm in request.arms:
        for role in dict.fromkeys((*high_yield[arm], *low_yield[arm])):
            a, b = high_yield[arm].get(role, _Count()), low_yield[arm].get(role, _Count())
            if not (a.calls or b.calls or a.fits or b.fits):
                continue
            prompts = _range(*a.prompts, *b.prompts)
            rows.append(
                PlanRow(
                    arm=arm,
                    role=role,
                    calls=_range(a.calls, b.calls),
                    scored=_range(a.scored, b.scored),
                    prompt_tokens=prompts,
                    completion_tokens=(min(a.short, b.short), max(a.long, b.long)),
                    usd=_usd(prices.get(role, FREE), prompts, (min(a.short, b.short), max(a.long, b.long))),
                    fits=max(a.fits, b.fits),
                    examples=_range(a.examples, b.examples),
                )
            )
    rehearsals = (high_yield, low_yield)
    unique = [len(_different(plans, "teacher")) + _different_readings(plans, "teacher") for plans in rehearsals]
    bills = [
        _bill(role, ref, prices[role], [_different(plans, role) for plans in rehearsals], seeds=len(request.seeds))
        for role, (ref, _) in request.models.items()
        if ref.name.startswith("openai:")
    ]
    notes = ["Low and high: a writer whose every reply can be read, and one of whose replies only 40 % can."]
    if request.recipe.card.ends_early:
        notes.append(f"A run may ask less, so this is the most: {request.recipe.card.ends_early}.")
    if request.task.chance is not None:
        notes.append(f"Test problems per evaluation: {len(request.task.test[: request.test_limit])}; chance {request.task.chance:.0%}.")
    return Plan(rows=rows, unique_teacher_calls=_range(*unique), bills=[bill for bill in bills if bill.calls[1]], notes=notes)


def _different(plans: Mapping[str, Mapping[str, _Count]], role: str) -> dict[str, tuple[int, int]]:
    """The calls of a role that differ from one another, over all arms."""
    found: dict[str, tuple[int, int]] = {}
    for counts in plans.values():
        found |= counts[role].asked if role in counts else {}
    return found


def _different_readings(plans: Mapping[str, Mapping[str, _Count]], role: str) -> int:
    """Texts that a role reads inside trainings, over all arms: a training that arms share is done once."""
    found: dict[str, int] = {}
    for counts in plans.values():
        found |= counts[role].fits_read if role in counts else {}
    return sum(found.values())


def _bill(role: str, ref: ModelRef, price: Price | None, asked: Sequence[Mapping[str, tuple[int, int]]], *, seeds: int) -> Bill:
    """For all seeds: they share greedy answers to equal prompts, which is left out here, so that the figure is an upper one."""
    prompts = [seeds * sum(prompt for prompt, _ in calls.values()) for calls in asked]
    longest = [seeds * sum(most for _, most in calls.values()) for calls in asked]
    prompt, completion = _range(*prompts), (SHORT_REPLY * min(longest), float(max(longest)))
    return Bill(
        role=role,
        model=ref.name,
        calls=_range(*(seeds * len(calls) for calls in asked)),
        tokens=(prompt[0] + completion[0], prompt[1] + completion[1]),
        usd=_usd(price, prompt, completion),
        price="" if price is None else in_words(price),
    )


def _usd(price: Price | None, prompt: tuple[float, float], completion: tuple[float, float]) -> tuple[float, float] | None:
    return None if price is None else usd_range(price, prompt, completion)


def _rehearse(request: Request, arm: str, *, good: float) -> dict[str, _Count]:
    found = rehearse(request, arm, good=good)
    if found.stopped is not None and good == 1.0:
        raise found.stopped
    return found.roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What one arm asked for when nothing was thought and nothing trained."""

    roles: dict[str, _Count]
    scorecards: tuple[Scorecard, ...]
    """Of no worth but for how they would be measured."""
    stopped: QualityGate | None
    """Where too little was left to go on with, the reason."""


def rehearse(request: Request, arm: str, *, good: float) -> Rehearsal:
    """Run one arm against a writer of whose replies the share `good` can be read."""
    counts: dict[str, _Count] = {}
    told = _Told()

    def open_role(role: str, ref: ModelRef, facts: ModelFacts) -> _Example:
        labels = facts.labels or request.task.labels
        return _Example(role, ref, counts.setdefault(role, _Count()), dialect=DIALECTS[facts.dialect], labels=labels, good=good, told=told)

    coin = stream(0, "plan verdicts", arm)

    def verify(problem: Problem, text: str) -> Verdict:
        """Right or wrong by chance, the student's less often: a rehearsal has nothing to be right about."""
        parsed = text != GARBAGE
        right = LOW_YIELD * good if told.by.get(text.strip()) == "student" else (good + LOW_YIELD) / 2
        return Verdict(score=float(parsed and coin.random() < right), parsed=parsed, extracted=ANSWER if parsed else None)

    with tempfile.TemporaryDirectory() as scratch:
        journal = ArmJournal(Path(scratch))
        journal.start()
        lab = _PlanLab(
            task=replace(request.task, solve=request.task.solve and _solved, verify=verify), models=request.models,
            open_role=open_role, journal=journal, fits=Path(scratch), arm=arm,
            seed=request.seeds[0], test_limit=request.test_limit, counts=counts,
        )  # fmt: skip
        try:
            request.recipe.run(lab, request.arm_settings(arm))
        except QualityGate as gate:
            return Rehearsal(roles=counts, scorecards=(), stopped=gate)
        measured = lab.finish()
    return Rehearsal(roles=counts, scorecards=tuple(measured), stopped=None)


class _PlanLab(Lab):
    """Fits return the model they were given, and are counted; nothing is refused, since example answers are noise."""

    def __init__(self, *, counts: dict[str, _Count], **given: Any) -> None:
        super().__init__(**given)
        self._counts = counts
        self._read: set[str] = set()

    def refuse(self, message: str, *, got: object = None, fix: str = "") -> None:
        pass

    def leaks(self, texts: Sequence[str]) -> list[str | None]:
        return [None] * len(texts)

    def fit(
        self, role: str, model: Any, source: Any, objective: Any, *, settings: Any, targets: Any = None, watch: Any = None, step: str = ""
    ) -> Any:
        count = self._counts.setdefault(role, _Count())
        count.fits += 1
        count.examples += len(getattr(source, "records", ()))
        rehearse = getattr(source, "rehearse", None)
        if rehearse is not None:  # a source that asks further models while the student learns
            rehearse(settings)
        described = [model.id, source.describe(), objective.describe(), targets.describe() if targets is not None else None]
        fit = content_id([*described, settings.describe(), step or role])
        if fit not in self._read:  # the same training is done once
            self._read.add(fit)
            for reading in readings(source, targets, objective, settings, watch):
                who = self._scorer(role, reading.scorer.ref, reading.scorer.role)
                if who and not (reading.scorer.reference and reading.scorer.ref.id == model.id):
                    self._counts.setdefault(who, _Count()).read(fit, reading.texts)
        ref = replace(model.ref, digest=f"planned {role} {count.fits}")
        return self.role(role, ref, facts_after(model.facts, objective, settings))


def _solved(problem: Problem) -> str:
    return problem.answer or ANSWER


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def _range(*amounts: float) -> tuple[float, float]:
    return (min(amounts), max(amounts))
