"""What one arm under one seed holds and hands to its recipe: the task without its test rows, the roles, the journal and the ways to spend.

Every model call goes through a role and is cached by all that could change its answer; every fit is keyed the same way. Running the same
recipe again therefore replays what is done and continues where it stopped; no recipe holds resume code.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson

from tutelage.capabilities import Completion, ModelFacts, Sampling, TokenScores
from tutelage.errors import CapabilityError, InternalError, QualityGate, SettingsError, did_you_mean
from tutelage.hashing import content_id
from tutelage.journal.folder import ArmJournal, read_fit, write_whole
from tutelage.prompts.dialects import DIALECTS
from tutelage.prompts.wording import Wording
from tutelage.records import ModelRef, Origin, Problem, Prompt, Record, Scorecard
from tutelage.seeds import derive, stream
from tutelage.tasks.task import Task, in_turn

if TYPE_CHECKING:
    from tutelage.sandbox import Sandbox
    from tutelage.select.decontaminate import Decontaminator
    from tutelage.train import FitSettings
    from tutelage.train.readings import Charging

R = TypeVar("R", bound=Record)

Progress = Callable[[str, int, int], None]
"""(step, done, total)"""


def silent(step: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class Model(Protocol):
    """A cached, counted model: what a role calls."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]: ...
    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]: ...
    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]: ...
    def classify(self, texts: Sequence[str]) -> list[tuple[float, ...]]: ...
    def reward(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]: ...


OpenRole = Callable[[str, ModelRef, ModelFacts], Model]
"""(role, ref, facts) -> model; opens nothing until its first uncached call."""

Heard = Callable[[str, Sequence[Sequence[Completion]]], None]
"""(role, replies): told of every reply, to count those that failed."""


@dataclass(frozen=True, slots=True)
class Role:
    """A frozen handle on one model in one role. Training returns another handle; this one never changes its weights."""

    name: str
    ref: ModelRef
    facts: ModelFacts
    wording: Wording
    _model: Model = field(repr=False)
    _heard: Heard = field(repr=False)

    @property
    def id(self) -> str:
        return self.ref.id

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        self._need("generate")
        replies = self._model.generate(prompts, sampling)
        self._heard(self.name, replies)
        return replies

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]:
        self._need("score")
        return self._model.score(prompts, completions)

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        self._need("embed")
        return self._model.embed(texts)

    def classify(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        self._need("classify")
        return self._model.classify(texts)

    def reward(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
        self._need("reward")
        return self._model.reward(prompts, completions)

    def _need(self, capability: str) -> None:
        if capability not in self.facts.capabilities:
            raise CapabilityError(
                f"the {self.name} cannot {capability}", got=self.ref.name, fix="choose a model or an arm that does not need it"
            )


def facts_after(facts: ModelFacts, objective: Any, settings: FitSettings) -> ModelFacts:
    """Of the model that a fit leaves: a class head takes the place of what was there, a reward head of a term's own stands beside it."""
    if settings.head == "lm":
        from tutelage.engine.digest import REWARD_HEAD  # here, so that showing a recipe need not import it

        rates = any(own.name == REWARD_HEAD for term in objective.terms for own in term.own)
        return replace(facts, capabilities=facts.capabilities - {"reward"} | ({"reward"} if rates else set()))
    if settings.head != "class":
        return facts
    labels = settings.labels or tuple(f"LABEL_{i}" for i in range(settings.outputs))
    able = {"embed", "train", "classify" if len(labels) > 1 else "reward"}
    return replace(facts, capabilities=frozenset(able), labels=labels)


class Lab:
    """Handed to `run(lab, settings)`. `task` has no test rows; they are read by `lab.evaluate` alone."""

    def __init__(
        self,
        *,
        task: Task,
        models: Mapping[str, tuple[ModelRef, ModelFacts]],
        open_role: OpenRole,
        journal: ArmJournal,
        fits: Path,
        arm: str,
        seed: int,
        train: Callable[..., Mapping[str, Any]] | None = None,
        progress: Progress = silent,
        charging: Charging | None = None,
        test_limit: int | None = None,
        allow_weak_sandbox: bool = False,
    ) -> None:
        self.task = replace(task, test=())
        self.arm = arm
        self.seed = seed
        self.progress = progress
        self.step = "start"
        """What the recipe is doing, for progress: the name of the latest sampling."""
        self._test = in_turn(task.test, test_limit)
        self._evaluation = [p.text for p in (*task.test, *task.validation)]
        self._leaks: Decontaminator | None = None
        self._journal = journal
        self._fits = fits
        self._open_role = open_role
        self._train = train
        self._charging = charging
        self._known: dict[str, str] = {}
        self._allow_weak_sandbox = allow_weak_sandbox
        self._scorecards: list[Scorecard] = []
        self._kept: list[str] = []
        self.roles = {name: self.role(name, ref, facts) for name, (ref, facts) in models.items()}

    # -- roles -----------------------------------------------------------------------------------------------------------------

    @property
    def teacher(self) -> Role:
        return self._named("teacher")

    @property
    def student(self) -> Role:
        return self._named("student")

    @property
    def pool(self) -> list[Role]:
        """Further models for the item-response matrix, in order; may be empty."""
        return [role for name, role in self.roles.items() if name.startswith("pool")]

    def _named(self, name: str) -> Role:
        if name not in self.roles:
            raise CapabilityError(f"this run has no {name}", fix=f"add --{name} MODEL")
        return self.roles[name]

    def role(self, name: str, ref: ModelRef, facts: ModelFacts) -> Role:
        if facts.dialect not in DIALECTS:
            raise SettingsError(
                f"model '{ref.name}' asks for a prompt dialect that does not exist",
                got=facts.dialect,
                fix=did_you_mean(facts.dialect, DIALECTS),
            )
        self._known.setdefault(ref.id, name)
        wording = Wording(dialect=DIALECTS[facts.dialect], description=self.task.description, answer_format=self.task.answer_format)
        return Role(name, ref, facts, wording, self._open_role(name, ref, facts), self._count_unanswered)

    def _count_unanswered(self, role: str, replies: Sequence[Sequence[Completion]]) -> None:
        """A request that failed for good is data (a prompt longer than the context, a refusal of an endpoint), and told in the report."""
        failed = [c.error or "no reason given" for group in replies for c in group if c.finish == "error"]
        if failed:
            asked = sum(len(group) for group in replies)
            self._journal.event("unanswered", role=role, step=self.step, asked=asked, count=len(failed), example=failed[0])

    def sandbox(self, *, readable: Sequence[Path | str] = ()) -> Sandbox:
        """Where this run executes generated code and SQL: bubblewrap, or a plain process with limits where the user allowed that. For
        `Code(sandbox=...)`, `Sql(sandbox=...)` and tool loops."""
        from tutelage.sandbox import open_sandbox

        return open_sandbox(allow_weak=self._allow_weak_sandbox, readable=readable)

    # -- randomness ------------------------------------------------------------------------------------------------------------

    def rng(self, *names: str) -> random.Random:
        """The named random stream of this run's seed. Arms share streams, so that they differ by what they change and nothing else."""
        return stream(self.seed, *names)

    def sampling(
        self, name: str, *, max_tokens: int, temperature: float = 0.0, n: int = 1, top_p: float = 1.0, stop: Sequence[str] = ()
    ) -> Sampling:
        """Sampling with the seed of the named stream; greedy sampling has none, so that its answers are shared between seeds."""
        self.step = name
        seed = derive(self.seed, "sampling", name) if temperature > 0 else None
        return Sampling(max_tokens=max_tokens, temperature=temperature, n=n, top_p=top_p, stop=tuple(stop), seed=seed)

    # -- the journal -----------------------------------------------------------------------------------------------------------

    def keep(self, name: str, records: Sequence[R]) -> list[R]:
        """Write records under a name and hand them on. Every step of a recipe passes its result through here."""
        if name in self._kept:
            raise InternalError("a recipe keeps one name once", got=name, fix="name the second result differently")
        self._kept.append(name)
        self._journal.keep(name, records)
        return list(records)

    def tally(self, step: str, *, asked: int, parsed: int, kept: int, dropped: Mapping[str, int] | None = None) -> None:
        """The yield of one step: what was asked for, what could be read, what was kept, and why the rest was not."""
        self._journal.event("yield", step=step, asked=asked, parsed=parsed, kept=kept, dropped=dict(dropped or {}))

    def note(self, name: str, value: Any) -> None:
        """A finding for the report that is not a record."""
        self._journal.event("note", name=name, value=value)

    # -- training --------------------------------------------------------------------------------------------------------------

    def fit(
        self,
        role: str,
        model: Role,
        source: Any,
        objective: Any,
        *,
        settings: FitSettings,
        targets: Any = None,
        watch: Any = None,
        step: str = "",
    ) -> Role:
        """Train and return a new handle in `role`. The same inputs give the same key and are trained once. `watch` (a `train.Watch`) stops
        early on held-out records."""
        if "train" not in model.facts.capabilities or model.ref.path is None:
            raise CapabilityError(
                f"the {role} cannot be trained", got=model.ref.name, fix="use a model with local weights (hf:, bundled:) or another arm"
            )
        watched = {} if watch is None else {"watch": watch}  # left out elsewhere, so that fits without one keep their keys
        key = content_id(
            {
                "model": model.id,
                "source": source.describe(),
                "objective": objective.describe(),
                "targets": targets.describe() if targets is not None else None,
                "settings": settings.describe(),
                "seed": derive(self.seed, "fit", step or role),
                **{name: held.describe() for name, held in watched.items()},
            }
        )
        folder = self._fits / key
        started = time.monotonic()
        record = folder / "fit.json"
        replayed = record.exists()
        if not replayed:
            if self._train is None:
                raise InternalError("this lab cannot train")
            charged = {} if self._charging is None else {"charges": self._charging.open(key, partial(self._scorer, role))}
            summary = self._train(
                model=model.ref,
                source=source,
                objective=objective,
                targets=targets,
                settings=settings,
                seed=derive(self.seed, "fit", step or role),
                out=folder,
                progress=lambda done, total, loss: self.progress(f"train {step or role}, loss {loss:.3f}", done, total),
                **watched,
                **charged,
            )
            write_whole(record, orjson.dumps({"key": key, **summary}))
        summary = read_fit(record)
        if replayed and self._charging is not None:
            self._charging.again(key, summary.get("charged", {}))
        origin = Origin(step=f"fit {step or role}", parents=(model.id,), model=model.id)
        ref = ModelRef(name=f"fit:{key}", digest=summary["digest"], path=str(folder), adapter_of=summary.get("adapter_of"), origin=origin)
        self._journal.event(
            "fit",
            role=role,
            step=step or role,
            key=key,
            ref=ref.id,
            parent=model.id,
            replayed=replayed,
            elapsed_s=round(time.monotonic() - started, 3),
            **{
                k: summary[k]
                for k in ("examples", "seen", "tokens", "steps", "seconds", "log", "before", "after", "dropped", "notes", "told")
                if k in summary
            },
        )
        return self.role(role, ref, facts_after(model.facts, objective, settings))

    def _scorer(self, trained: str, ref: ModelRef, name: str) -> str:
        """The role that is charged for a text that a model reads in the training of another one; empty where it reads in its own."""
        return "" if (who := name or self._known.get(ref.id, "")) == trained else who

    def told(self, model: Role) -> Mapping[str, Any]:
        """What the source of the fit that made this model found out on the way, such as the weights of its domains. Empty for a model
        that this lab did not train, and in a rehearsal."""
        record = Path(model.ref.path or "") / "fit.json"
        return read_fit(record).get("told", {}) if model.ref.name.startswith("fit:") and record.exists() else {}

    # -- measuring -------------------------------------------------------------------------------------------------------------

    def evaluate(
        self, name: str, model: Role, *, shots: Sequence[int] = (0,), max_tokens: int, read: Callable[[str], str] | None = None
    ) -> list[Scorecard]:
        """Score a model on the test problems, once per number of shots. Nothing else reads them. A classifier is asked for its likeliest
        label; it takes no shots and no tokens. `read`: the part of a reply that is its solution, where a model says more."""
        return [self._told(self._card(name, model, k, max_tokens, read)) for k in shots]

    def evaluate_confidence(self, tell: Callable[[Sequence[Problem]], Sequence[tuple[str, float | None]]]) -> dict[str, float | None]:
        """What the confidence is worth that `tell` gives with its answers to the test problems. `tell` never looks at their answers."""
        from tutelage.evaluate import evaluate_confidence

        return evaluate_confidence(tell, task=self.task, problems=self._test)

    def evaluate_reward(self, name: str, model: Role, rate: Callable[[Sequence[Prompt], Sequence[str]], list[float | None]]) -> Scorecard:
        """Pair accuracy of `rate`, which rests on `model`, on the marked solutions of the test problems. Nothing else reads them."""
        from tutelage.evaluate import evaluate_reward

        about = {"model_id": model.id, "seed": self.seed, "arm": self.arm}
        return self._told(evaluate_reward(rate, name=name, task=self.task, problems=self._test, wording=model.wording, **about))

    def _told(self, card: Scorecard) -> Scorecard:
        self._journal.event("scorecard", **{k: v for k, v in asdict(card).items() if k not in ("items", "scores", "origin")})
        self._scorecards.append(card)
        return card

    def _card(self, name: str, model: Role, shots: int, max_tokens: int, read: Callable[[str], str] | None) -> Scorecard:
        from tutelage.evaluate import evaluate, evaluate_classifier  # here, so that showing a recipe need not import it

        about: dict[str, Any] = {"name": name, "task": self.task, "problems": self._test}
        about |= {"model_id": model.id, "seed": self.seed, "arm": self.arm}
        if {"generate", "classify"} & model.facts.capabilities == {"classify"}:
            if shots:
                raise CapabilityError(
                    "a classifier cannot be shown examples", got=f"{shots} shots, {model.ref.name}", fix="evaluate it with 0 shots"
                )
            return evaluate_classifier(model, labels=model.facts.labels, **about)
        sampling = self.sampling(f"evaluate, {shots}-shot", max_tokens=max_tokens, stop=model.wording.dialect.solution_stop)
        asked: dict[str, Any] = {"wording": model.wording, "sampling": sampling, "shots": shots, "template": model.facts.template}
        return evaluate(model, read=read, **asked, **about)

    def finish(self) -> list[Scorecard]:
        """Called after `run`: the scorecards become a file and the arm is done."""
        self._journal.keep("scorecards", self._scorecards)
        self._journal.event("done")
        return self._scorecards

    @property
    def kept(self) -> tuple[str, ...]:
        """The names kept so far, in order."""
        return tuple(self._kept)

    def leaks(self, texts: Sequence[str]) -> list[str | None]:
        """For each question the reason why nobody may train on it: it gives away a test or validation question of the task. None for a
        clean one. The rules are those of `select.decontaminate`; a task that repeats templates is checked for equality alone."""
        if self._leaks is None:
            from tutelage.select.decontaminate import Decontaminator

            self._leaks = Decontaminator(self._evaluation, templated=self.task.templated)
        return [None if leak is None else f"leak: {leak.rule}" for leak in self._leaks.check(texts)]

    def refuse(self, message: str, *, got: object = None, fix: str = "") -> None:
        """End the arm because going on would train on noise. A rehearsal of costs has nothing to refuse and goes on."""
        raise QualityGate(message, got=got, fix=fix)

    def answer_key(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems with the right answer where the task's world can solve them (None for a malformed question), else unchanged:
        a drafted problem then keeps the teacher's own claim."""
        solver = self.task.solve
        return list(problems) if solver is None else [replace(p, answer=solver(p)) for p in problems]
