"""Recipes at equal cost: each sized to one teacher budget, run under the same seeds, and ranked with paired intervals.

Every recipe has a run folder of its own, under the identity that its size gives it; so a comparison is continued by the same command, and
another one shares what is finished. What all of them ask is cached together.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.backends.wrappers import price_of
from tutelage.errors import BudgetExhausted, SettingsError, StorageError, TutelageError, did_you_mean
from tutelage.experiments.processes import Job, JobWatch, Worked, work_through
from tutelage.experiments.request import Request, resolve_request
from tutelage.experiments.run import default_jobs, prepare_folder, run_folder, run_seed, unfinished_seeds
from tutelage.experiments.sizing import ASSUMED_YIELD, SIZING_UNITS, Sized, size_request, sizing_budget
from tutelage.hashing import content_id
from tutelage.journal.prices import FREE
from tutelage.recipes import load_recipe
from tutelage.report import write_report
from tutelage.report.comparison import Comparison, Entrant, write_comparison

EVERY = "*"
"""In `--set` and `--yield`, all recipes of the comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to be compared: a recipe, with the arm that stands for it."""

    recipe: str
    arm: str
    name: str
    """`recipe`, or `recipe:arm` where it is not the system's own arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A comparison that can be started: everything sized and checked, nothing asked."""

    entries: tuple[Entry, ...]
    sized: Mapping[str, Sized]
    """By name of the entry."""
    comparison: Comparison
    cap: str
    bases: Mapping[str, Request]
    """The requests before they were sized."""
    yields: Mapping[str, float]
    """By name of the entry."""
    resized: Mapping[str, int] = field(default_factory=dict)
    """By name, the size at which an entry first met its cap."""

    @property
    def id(self) -> str:
        asked = {name: (base.identity, self.yields[name]) for name, base in self.bases.items()}
        return content_id({"asked": asked, "budget": self.cap, "metric": self.comparison.metric})

    @property
    def running(self) -> dict[str, Sized]:
        return {name: s for name, s in self.sized.items() if s.fits}


def parse_entry(text: str) -> Entry:
    """`arte` or `arte:in_context`."""
    name, _, arm = text.partition(":")
    recipe = load_recipe(name)
    if arm and arm not in recipe.arms:
        raise SettingsError(f"recipe '{name}' has no such arm", got=arm, fix=did_you_mean(arm, recipe.arms))
    own = arm in ("", recipe.card.arm)
    return Entry(recipe=name, arm=arm or recipe.card.arm, name=name if own else f"{name}:{arm}")


def plan_comparison(
    recipes: Sequence[str],
    *,
    task: str,
    budget: str | None,
    teacher: str | None = None,
    student: str | None = None,
    pool: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    task_options: Mapping[str, Any] | None = None,
    test_limit: int | None = None,
    yields: Mapping[str, float] | None = None,
    metric: str | None = None,
    command: str = "",
) -> Plan:
    """Resolve, size and check; every error that can be known before anything is spent is raised here.

    `overrides` and `yields` are keyed by entry: `arte.probes`, `arte:in_context.probes` or `*.shots`; `arte`, `*`.
    """
    limit = sizing_budget(budget)
    entries = tuple(parse_entry(text) for text in recipes)
    names = [e.name for e in entries]
    if len(entries) < 2:
        raise SettingsError("a comparison needs at least two recipes", got=", ".join(names) or "none", fix="add sft, say")
    if len(set(names)) != len(names):
        raise SettingsError("a recipe is named twice", got=", ".join(names), fix="name each once; another arm as RECIPE:ARM")
    _check_keys(entries, list(overrides or {}), yields or {})
    sized: dict[str, Sized] = {}
    bases: dict[str, Request] = {}
    assumed: dict[str, float] = {}
    for entry in entries:
        request = resolve_request(
            entry.recipe,
            task=task,
            teacher=teacher,
            student=student,
            pool=pool,
            arms=(entry.arm,),
            seeds=seeds,
            preset=preset,
            overrides=_meant_for(entry, overrides or {}),
            task_options=task_options,
            test_limit=test_limit,
        )
        good = next((yields[key] for key in (entry.name, entry.recipe, EVERY) if yields and key in yields), ASSUMED_YIELD)
        sized[entry.name] = size_request(request, limit, good=good)
        bases[entry.name], assumed[entry.name] = request, good
    fitting = {name: s for name, s in sized.items() if s.fits}
    unit = next(u for u in SIZING_UNITS if getattr(limit, u) is not None)
    left_out = {
        name: f"its fixed costs do not fit: at its smallest ({_sizes(s.sizes)}) it needs about {s.planned.of(unit)[1]:,.4g} {unit}"
        for name, s in sized.items()
        if not s.fits
    }
    if not fitting:
        raise SettingsError(
            "the budget is too small for every one of the recipes", got="; ".join(f"{n}: {w}" for n, w in left_out.items()),
            fix="give a larger budget",
        )  # fmt: skip
    first = next(iter(sized.values())).request
    comparison = Comparison(
        task=first.task.name,
        models={role: ref.name for role, (ref, _) in first.models.items() if not role.startswith("pool")},
        budget={u: float(amount) for u in SIZING_UNITS if (amount := getattr(limit, u)) is not None},
        seeds=tuple(seeds),
        metric=_metric(fitting, metric),
        command=command,
        left_out=left_out,
    )
    return Plan(entries=entries, sized=sized, comparison=comparison, cap=limit.describe(), bases=bases, yields=assumed)


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sizes.items())


def _check_keys(entries: Sequence[Entry], paths: Sequence[str], yields: Mapping[str, float]) -> None:
    known = {EVERY, *(e.name for e in entries), *(e.recipe for e in entries)}
    for path in paths:
        who = path.partition(".")[0]
        if who not in known or "." not in path:
            raise SettingsError(
                "a setting of a comparison names its recipe first",
                got=path or "a setting without a recipe",
                fix=f"for example --set {entries[0].name}.NAME=VALUE, or '*.NAME=VALUE' for all of them",
            )
    for who, share in yields.items():
        if who not in known:
            raise SettingsError("a yield is given for a recipe that is not compared", got=who, fix=did_you_mean(who, known))
        if not 0 < share <= 1:
            raise SettingsError("a yield is a share of replies", got=share, fix="give a number above 0 and at most 1")


def _meant_for(entry: Entry, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one entry, the more general first, so that the more special wins."""
    found: dict[str, Any] = {}
    for who in (EVERY, entry.recipe, entry.name):
        found |= {path.partition(".")[2]: value for path, value in overrides.items() if path.partition(".")[0] == who}
    return found


def _metric(sized: Mapping[str, Sized], wanted: str | None) -> str:
    """The metric to rank by: one that all recipes measure, and in the same way."""
    shared = [m for m in next(iter(sized.values())).measured if all(m in s.measured for s in sized.values())]
    told = "; ".join(f"{name}: {', '.join(s.measured) or 'nothing'}" for name, s in sized.items())
    if wanted is not None and wanted not in shared:
        raise SettingsError(f"not every recipe measures '{wanted}'", got=told, fix="name one of those that all measure")
    if not shared:
        raise SettingsError(
            "these recipes measure nothing in common", got=told, fix="compare recipes of one kind of task, or give them the same shots"
        )
    metric = wanted or shared[0]
    prints = {name: s.measured[metric] for name, s in sized.items()}
    if len(set(prints.values())) > 1:
        raise SettingsError(
            f"these recipes would measure '{metric}' differently, so their scores cannot be compared",
            got="; ".join(f"{name}: {seal}" for name, seal in prints.items()) + _differing(sized),
            fix="give them the same settings of evaluation, for example --set '*.rationale_tokens=48'",
        )
    return metric


def _differing(sized: Mapping[str, Sized]) -> str:
    """Settings that bear on evaluation and are not the same in all recipes."""
    values: dict[str, dict[str, Any]] = {}
    for name, s in sized.items():
        for key in ("shots", "rationale_tokens", "tokens", "answer_tokens"):
            if hasattr(s.request.settings, key):
                values.setdefault(key, {})[name] = getattr(s.request.settings, key)
    unlike = [
        f"{key} ({', '.join(f'{n} {v}' for n, v in by.items())})" for key, by in values.items() if len({str(v) for v in by.values()}) > 1
    ]
    return f"; settings that differ: {', '.join(unlike)}" if unlike else ""


CompareWatch = Callable[[int, str, str, int, int], None]
"""(seed, name of the entry, step, done, total)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a comparison left behind."""

    folder: Path
    board: Mapping[str, Any]
    """leaderboard.json: rows best first, what was left out, and what it says in words."""
    calls: int
    """Model calls that were not answered from the cache, over all roles, in this invocation."""
    fits: int
    errors: Mapping[str, TutelageError]
    """`name, seed N` -> what ended it early."""


def run_comparison(
    plan: Plan, *, out: Path | None = None, jobs: int | None = None, resize: bool | None = None, watch: CompareWatch | None = None
) -> Compared:
    """Run whatever is not finished and write the leaderboard, also of an interrupted comparison.

    A recipe that meets its cap, because its plan was too hopeful, is made smaller and run again where `resize` says so; by default where
    its teacher costs no money. Its row then counts the last attempt alone, which keeps to the budget as every attempt does.
    """
    folder = out or Path(os.environ.get("TUTELAGE_RUNS", "runs")) / f"compare-{plan.id.split('-')[1][:10]}"
    calls = fits = 0
    attempts = 0
    while True:
        folders = {name: run_folder(s.request, None) for name, s in plan.running.items()}
        try:
            worked = _work(plan, folders, jobs, watch)
        except BaseException:
            with contextlib.suppress(StorageError):  # what stopped the comparison must be told
                write_comparison(plan.comparison, _entrants(plan, folders, {}), folder)
            raise
        calls += sum(done["calls"] for done in worked.results.values())
        fits += sum(done["fits"] for done in worked.results.values())
        smaller = _smaller(plan, folders, worked, resize) if attempts < RESIZES else plan
        if smaller is plan:
            break
        plan, attempts = smaller, attempts + 1
    for path in folders.values():
        write_report(path)
    board = write_comparison(plan.comparison, _entrants(plan, folders, worked.errors), folder)
    names = {path: name for name, path in folders.items()}
    return Compared(
        folder=folder,
        board=board,
        calls=calls,
        fits=fits,
        errors={f"{names[job.folder]}, seed {job.seed}": error for job, error in worked.errors.items()},
    )


RESIZES = 4
"""Times that a recipe is made smaller after it met its cap."""
SHRINK = 0.85


def _smaller(plan: Plan, folders: Mapping[str, Path], worked: Worked, resize: bool | None) -> Plan:
    """The plan with every entry that met its cap made smaller; the plan itself where there is nothing to do."""
    met = {job.folder for job, error in worked.errors.items() if isinstance(error, BudgetExhausted)}
    sized, first = dict(plan.sized), dict(plan.resized)
    for name, s in plan.running.items():
        free = all(price_of(ref) == FREE for ref, _ in s.request.models.values())
        if folders[name] not in met or not s.sizes or not (free if resize is None else resize):
            continue
        size = next(iter(s.sizes.values()))
        again = size_request(plan.bases[name], sizing_budget(plan.cap), good=plan.yields[name], largest=max(1, int(size * SHRINK)))
        if again.fits and again.sizes != s.sizes:
            sized[name] = again
            first.setdefault(name, size)
    return plan if sized == dict(plan.sized) else replace(plan, sized=sized, resized=first)


def _work(plan: Plan, folders: Mapping[str, Path], jobs: int | None, watch: CompareWatch | None) -> Worked:
    todo: list[Job] = []
    for name, s in plan.running.items():
        prepare_folder(s.request, folders[name], plan.comparison.command)
        todo += [Job(folder=folders[name], seed=seed, cap=plan.cap) for seed in unfinished_seeds(s.request, folders[name])]
    names = {path: name for name, path in folders.items()}
    count = max(1, min(jobs or min(default_jobs(s.request) for s in plan.running.values()), len(todo) or 1))

    def told(job: Job, arm: str, step: str, done: int, total: int) -> None:
        del arm
        if watch is not None:
            watch(job.seed, names[job.folder], step, done, total)

    if count == 1:
        return _here(todo, {folders[name]: s.request for name, s in plan.running.items()}, told)
    return work_through([todo[i::count] for i in range(count)], told, go_on=True)


def _here(todo: Sequence[Job], requests: Mapping[Path, Request], watch: JobWatch) -> Worked:
    """All jobs in this process, with all its cores: where models are large, each process would hold its own."""
    worked = Worked()
    for job in todo:

        def told(seed: int, arm: str, step: str, done: int, total: int, job: Job = job) -> None:
            del seed
            watch(job, arm, step, done, total)

        try:
            worked.results[job] = run_seed(requests[job.folder], job.folder, job.seed, budget=job.budget, cap=job.cap, watch=told)
        except TutelageError as error:
            worked.errors[job] = error
    return worked


def _entrants(plan: Plan, folders: Mapping[str, Path], errors: Mapping[Job, TutelageError]) -> list[Entrant]:
    found = []
    for entry in plan.entries:
        if entry.name not in folders:
            continue
        s = plan.sized[entry.name]
        planned = {u: s.planned.of(u) for u in plan.comparison.budget}
        stopped = {job.seed: _why(error, entry.name) for job, error in errors.items() if job.folder == folders[entry.name]}
        found.append(
            Entrant(
                name=entry.name,
                arm=entry.arm,
                folder=folders[entry.name],
                sizes=s.sizes,
                planned=planned,
                exhausted=s.exhausted,
                fixed=s.fixed,
                stopped=stopped,
                ends_early=s.request.recipe.card.ends_early,
                first_size=plan.resized.get(entry.name),
            )
        )
    return found


def _why(error: TutelageError, name: str) -> str:
    if isinstance(error, BudgetExhausted):
        return f"{error.message}; its plan assumed too good a yield (--yield {name}={ASSUMED_YIELD / 2:g} sizes it with more care)"
    return error.message


__all__ = ["Compared", "Entry", "Plan", "parse_entry", "plan_comparison", "run_comparison"]
