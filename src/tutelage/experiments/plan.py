"""What a run would cost, found by running the recipe against a model that answers every prompt with its example and never thinks.

Numbers that depend on what models say (how many drafts parse, how many solutions are right) are given as a range: once with a perfect
writer, once with one that yields little. Tokens are estimated at four characters each; completions between a quarter of the longest
allowed and all of it.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.capabilities import Completion, ModelFacts, Sampling, TokenScores
from tutelage.errors import QualityGate
from tutelage.experiments.request import Request
from tutelage.hashing import content_id
from tutelage.journal.folder import ArmJournal
from tutelage.lab import Lab
from tutelage.prompts import questions, solve
from tutelage.records import ModelRef, Problem, Prompt, Scorecard, Verdict
from tutelage.seeds import stream

CHARACTERS_PER_TOKEN = 4
LOW_YIELD = 0.4
"""Share of replies that can be read, and of solutions that are right, in the unfavourable case."""
GARBAGE = "?"
SHORT_REPLY = 0.25
"""Length of a short completion as a share of the longest allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One role in one arm, per seed; every amount as (low, high)."""

    arm: str
    role: str
    calls: tuple[float, float]
    prompt_tokens: tuple[float, float]
    completion_tokens: tuple[float, float]
    fits: int
    examples: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    rows: list[PlanRow]
    unique_teacher_calls: tuple[float, float]
    """Different teacher calls of one seed over all arms: what must be paid, since arms share answers."""
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        return {"rows": [asdict(r) for r in self.rows], "unique_teacher_calls": self.unique_teacher_calls, "notes": self.notes}


@dataclass(slots=True)
class _Count:
    calls: int = 0
    prompt: int = 0
    short: float = 0.0
    long: float = 0.0
    fits: int = 0
    examples: int = 0
    keys: set[str] = field(default_factory=set)


class _Example:
    """Answers by the kind of the prompt; a share of `1 - good` of the answers is garbage."""

    def __init__(self, role: str, ref: ModelRef, count: _Count, task: Any, good: float) -> None:
        self._role, self._ref, self._count, self._task, self._good = role, ref, count, task, good
        self._noise = stream(0, "plan", role)
        self._serial = 0

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        return [[self._answer(p, sampling, i) for i in range(sampling.n)] for p in prompts]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]:
        self._count.calls += len(prompts)
        self._count.prompt += sum(_tokens(p.text) + _tokens(c) for p, c in zip(prompts, completions, strict=True))
        return [TokenScores(logprobs=(-1.0,)) for _ in prompts]

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        self._count.calls += len(texts)
        return [(1.0,) for _ in texts]

    def _answer(self, prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        count = self._count
        count.calls += 1
        count.prompt += _tokens(prompt.text)
        count.short += SHORT_REPLY * sampling.max_tokens
        count.long += sampling.max_tokens
        count.keys.add(content_id([self._ref.id, prompt.id, sampling.max_tokens, sampling.temperature, sampling.seed, index]))
        if self._noise.random() >= self._good:
            return Completion(text=GARBAGE)
        self._serial += 1
        return Completion(text=_example_reply(prompt.kind, self._serial, self._noise))


def _example_reply(kind: str, serial: int, noise: random.Random) -> str:
    """What the prompt file that the kind names gives as its example; texts differ as a writer's would, so that nothing is dropped as a
    repeat."""
    if kind == "questions":
        return _fresh_questions(serial, noise)
    name = f"tutelage.prompts.{kind.partition('.')[0] or 'solve'}"
    example = getattr(importlib.import_module(name), "example", None) if importlib.util.find_spec(name) else None
    if example is None or name.endswith(".solve"):
        return f"{solve.example()} ({serial})"
    asked = inspect.signature(example).parameters
    text = example(**{k: v for k, v in (("kind", kind), ("serial", serial)) if k in asked})
    return text if "serial" in asked else f"{text} ({serial})"


def _fresh_questions(serial: int, noise: random.Random) -> str:
    """The example reply with other numbers, so that drafts differ as a writer's would."""
    return questions.example().replace("A shelf", f"Shelf {serial}-{noise.randint(0, 10**9)}")


def plan_request(request: Request) -> Plan:
    """Run every arm twice against example answers: with a perfect writer, then with one of low yield."""
    high_yield = {arm: _rehearse(request, arm, good=1.0) for arm in request.arms}
    low_yield = {arm: _rehearse(request, arm, good=LOW_YIELD) for arm in request.arms}
    rows = []
    for arm in request.arms:
        for role in dict.fromkeys((*high_yield[arm], *low_yield[arm])):
            a, b = high_yield[arm].get(role, _Count()), low_yield[arm].get(role, _Count())
            if not (a.calls or b.calls or a.fits or b.fits):
                continue
            rows.append(
                PlanRow(
                    arm=arm,
                    role=role,
                    calls=_range(a.calls, b.calls),
                    prompt_tokens=_range(a.prompt, b.prompt),
                    completion_tokens=(min(a.short, b.short), max(a.long, b.long)),
                    fits=max(a.fits, b.fits),
                    examples=_range(a.examples, b.examples),
                )
            )
    unique = [len(set().union(*(c["teacher"].keys for c in plans.values() if "teacher" in c))) for plans in (high_yield, low_yield)]
    notes = ["Low and high: a writer whose every reply can be read, and one of whose replies only 40 % can."]
    if request.task.chance is not None:
        notes.append(f"Test problems per evaluation: {len(request.task.test[: request.test_limit])}; chance {request.task.chance:.0%}.")
    return Plan(rows=rows, unique_teacher_calls=_range(*unique), notes=notes)


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

    def open_role(role: str, ref: ModelRef, facts: ModelFacts) -> _Example:
        return _Example(role, ref, counts.setdefault(role, _Count()), request.task, good)

    coin = stream(0, "plan verdicts", arm)

    def verify(problem: Problem, text: str) -> Verdict:
        """Right or wrong by chance: a rehearsal has nothing to be right about."""
        parsed = text != GARBAGE
        return Verdict(score=float(parsed and coin.random() < (good + LOW_YIELD) / 2), parsed=parsed, extracted="9" if parsed else None)

    # Example answers are English; a model's own dialect changes lengths a little and parsing entirely.
    models = {role: (ref, replace(facts, dialect="english")) for role, (ref, facts) in request.models.items()}
    with tempfile.TemporaryDirectory() as scratch:
        journal = ArmJournal(Path(scratch))
        journal.start()
        lab = _PlanLab(
            task=replace(request.task, solve=None, verify=verify), models=models, open_role=open_role, journal=journal,
            fits=Path(scratch), arm=arm,
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

    def refuse(self, message: str, *, got: object = None, fix: str = "") -> None:
        pass

    def leaks(self, texts: Sequence[str]) -> list[str | None]:
        return [None] * len(texts)

    def fit(self, role: str, model: Any, source: Any, objective: Any, *, settings: Any, targets: Any = None, step: str = "") -> Any:
        count = self._counts.setdefault(role, _Count())
        count.fits += 1
        count.examples += len(getattr(source, "records", ()))
        ref = replace(model.ref, digest=f"planned {role} {count.fits}")
        return self.role(role, ref, model.facts)


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def _range(a: float, b: float) -> tuple[float, float]:
    return (min(a, b), max(a, b))
