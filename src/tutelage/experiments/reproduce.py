"""A recipe's declared experiment: run it, judge it by its rule, and write the record of it where it was declared before.

Tuning uses seeds from 100 on and leaves no record. A record is refused, with the reason, where the declaration is not committed, is not
what was run, or is younger than the run.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from tutelage.card import Experiment
from tutelage.errors import SettingsError, did_you_mean
from tutelage.experiments.declaration import Declared, code_state, declared, recipe_file
from tutelage.experiments.request import Request, resolve_request
from tutelage.experiments.run import Outcome, Watch, run_request, unwatched
from tutelage.experiments.verdicts import REPORTED, Judged, judge, values_of
from tutelage.hashing import content_id
from tutelage.journal.folder import read_lines, write_whole
from tutelage.journal.ledger import Ledger
from tutelage.recipes import Recipe, load_recipe
from tutelage.report.read import REFUSED, RunFolder, read_run
from tutelage.report.summary import cost

TUNING_SEEDS = 100
"""Seeds from here on are for tuning; those below are for the record."""
PACKAGES = ("tutelage", "torch", "transformers", "peft", "accelerate", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One declared experiment of one recipe, ready to be run."""

    name: str
    """Of its record: `llkd`, or `llkd-clinc150` for one of several."""
    recipe: Recipe
    experiment: Experiment
    request: Request
    tune: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """What a check came to."""

    check: Check
    outcome: Outcome
    judged: tuple[Judged, ...]
    record: Mapping[str, Any]
    problems: tuple[str, ...]
    """Why this is no record; empty where it is one."""


def experiments_of(text: str) -> list[tuple[str, Recipe, Experiment]]:
    """`llkd` for all declared experiments of a recipe, `llkd:clinc150` for one, as (record name, recipe, experiment)."""
    name, _, which = text.partition(":")
    recipe = load_recipe(name)
    if not recipe.experiments:
        raise SettingsError(
            f"recipe '{name}' declares no experiment", got="no REPRODUCE in its file", fix="docs/guides/compare.md says how to declare one"
        )
    if which and which not in recipe.experiments:
        named = [f"{name}:{key}" if key else name for key in recipe.experiments]
        raise SettingsError(f"recipe '{name}' declares no such experiment", got=text, fix=f"known: {', '.join(named)}")
    wanted = [which] if which else list(recipe.experiments)
    return [(f"{name}-{key}" if key else name, recipe, recipe.experiments[key]) for key in wanted]


def prepare(name: str, recipe: Recipe, experiment: Experiment, *, seeds: int | None = None, tune: bool = False) -> Check:
    """Resolve one experiment: everything wrong with it that can be known now is raised here."""
    count = experiment.seeds if seeds is None else seeds
    if count < 1:
        raise SettingsError("an experiment needs at least one seed", got=count, fix="--seeds 5")
    unknown = [arm for arm in experiment.arms if arm not in recipe.arms]
    if unknown:
        raise SettingsError(
            f"experiment '{name}' names an arm that recipe '{recipe.name}' has not",
            got=unknown[0],
            fix=did_you_mean(unknown[0], recipe.arms),
        )
    first = TUNING_SEEDS if tune else experiment.first_seed
    if not tune and first + count > TUNING_SEEDS:
        raise SettingsError(
            f"seeds of record of '{name}' reach into those for tuning",
            got=f"{first} to {first + count - 1}",
            fix=f"stay below {TUNING_SEEDS}",
        )
    request = resolve_request(
        recipe.name,
        task=_filled(experiment.task, name) or "",
        teacher=_filled(experiment.teacher, name),
        student=_filled(experiment.student, name),
        pool=[_filled(model, name) or "" for model in experiment.pool],
        arms=experiment.arms,
        seeds=range(first, first + count),
        preset=experiment.preset,
        overrides=experiment.settings,
        task_options={**experiment.task_options, **(experiment.tune_options if tune else {})},
        test_limit=experiment.test_limit,
    )
    return Check(name=name, recipe=recipe, experiment=experiment, request=request, tune=tune)


def _filled(text: str | None, name: str) -> str | None:
    """`$NAME` from the environment."""
    if text is None:
        return None
    missing = [v for v in re.findall(r"\$\{?(\w+)\}?", text) if v not in os.environ]
    if missing:
        raise SettingsError(
            f"experiment '{name}' needs the environment variable {missing[0]}",
            got=text,
            fix=f"set {missing[0]}; see docs/guides/reward-models.md",
        )
    return os.path.expandvars(text)


def reproduce(check: Check, *, out: Path | None = None, jobs: int | None = None, command: str = "", watch: Watch = unwatched) -> Reproduced:
    """Run whatever of the experiment is not finished and judge it."""
    standing = declared(check.recipe)
    outcome = run_request(check.request, out=out, jobs=jobs, command=command, watch=watch)
    run = read_run(outcome.folder)
    values = values_of(run, check.experiment)
    judged = tuple(judge(check.experiment, values, seeds=check.request.seeds))
    problems = tuple(_problems(check, standing, run, judged))
    record = _record(check, standing, run, judged, values, command)
    return Reproduced(check=check, outcome=outcome, judged=judged, record=record, problems=problems)


def _problems(check: Check, standing: Declared, run: RunFolder, judged: Sequence[Judged]) -> list[str]:
    found = []
    if check.tune:
        found.append(f"tuning: seeds from {TUNING_SEEDS} on are for choosing, not for the record")
    elif len(check.request.seeds) != check.experiment.seeds:
        found.append(f"{check.experiment.seeds} seeds were declared, {len(check.request.seeds)} were run")
    if standing.problem:
        found.append(f"undeclared: {standing.problem}")
    began = _began_s(run)
    if not standing.problem and began is not None and began < standing.at_s:
        found.append(
            f"undeclared: the run began {_when(began)}, before its declaration was committed {_when(standing.at_s)} "
            f"({standing.commit[:10]}); declare it with test problems or seeds that nobody has looked at"
        )
    refused = [f"{r.arm} under seed {r.seed}" for r in run.runs.values() if r.state == REFUSED]
    if refused:
        found.append(f"a quality gate stopped {', '.join(refused)}")
    found += [f"'{j.contrast.claim}': {j.missing[0]}" for j in judged if j.missing]
    return found


def _began_s(run: RunFolder) -> float | None:
    """When the first arm of any seed was first started, over all attempts."""
    starts = [float(row["at_s"]) for r in run.runs.values() for row in read_lines(r.folder / "events.jsonl") if row.get("event") == "start"]
    return min(starts, default=None)


def _when(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_s))


def _record(
    check: Check,
    standing: Declared,
    run: RunFolder,
    judged: Sequence[Judged],
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
    command: str,
) -> dict[str, Any]:
    request = check.request
    costs = {a.name: cost(run.of_arm(a.name)) for a in run.arms}
    with Ledger(run.path / "ledger.sqlite") as ledger:
        minutes = ledger.minutes()
    began = _began_s(run)
    return {
        "name": check.name,
        "recipe": check.recipe.name,
        "experiment": asdict(check.experiment),
        "contrasts": [j.as_json() for j in judged],
        "values": {m: {arm: {str(s): v for s, v in by.items()} for arm, by in arms.items()} for m, arms in values.items()},
        "seeds": list(request.seeds),
        "command": command,
        "declared": {"seal": standing.seal, "commit": standing.commit, "date": _when(standing.at_s) if standing.commit else ""},
        "date": _when(began) if began is not None else "",
        "minutes": round(minutes, 1),
        "code": {**code_state(recipe_file(check.recipe)), "digest": package_digest()},
        "packages": {name: package_version(name) for name in PACKAGES},
        "task": {"name": check.experiment.task, "version": request.task.version, "options": dict(request.task.options)},
        "models": {role: ref.id for role, (ref, _) in request.models.items()},
        "run": request.id,
        "teacher_calls": {arm: round(found["roles"].get("teacher", {}).get("calls", 0.0), 1) for arm, found in costs.items()},
    }


def package_digest() -> str:
    """Content id of every Python file of this package."""
    root = Path(__file__).resolve().parents[1]
    return content_id({p.relative_to(root).as_posix(): content_id(p.read_text(encoding="utf-8")) for p in sorted(root.rglob("*.py"))})


def package_version(name: str) -> str:
    """Of an installed package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def write_record(done: Reproduced, folder: Path) -> Path:
    """Write the record into `folder`. One that was declared otherwise before stays in it as `earlier`, so that nothing is forgotten."""
    if done.problems:
        raise SettingsError(f"this run of '{done.check.name}' is no record", got="; ".join(done.problems), fix="see the reasons")
    path = folder / f"{done.check.name}.json"
    earlier: list[dict[str, Any]] = []
    if path.exists():
        held = orjson.loads(path.read_bytes())
        earlier = list(held.get("earlier", []))
        if held["declared"]["seal"] != done.record["declared"]["seal"]:
            earlier.append(_short(held))
        elif held["run"] == done.record["run"] and held["values"] == orjson.loads(orjson.dumps(done.record["values"])):
            return path  # the same run judged again: the record keeps the date and the code that made it
        else:
            earlier.append(_short(held))
    body = {**done.record, "earlier": earlier}
    write_whole(path, orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return path


def _short(record: Mapping[str, Any]) -> dict[str, Any]:
    verdicts = [{"claim": c["contrast"]["claim"], "verdict": c["verdict"]} for c in record["contrasts"] if c["verdict"] != REPORTED]
    return {"date": record["date"], "declared": record["declared"], "code": record["code"]["commit"], "verdicts": verdicts}
