"""Run a request: a process per seed, arms one after the other, everything durable, the report at the end."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from tutelage.backends.wrappers import Cached
from tutelage.capabilities import ModelFacts
from tutelage.errors import BudgetExhausted, QualityGate, SettingsError, StorageError, TutelageError
from tutelage.experiments.caps import capped
from tutelage.experiments.charging import Account
from tutelage.experiments.processes import alone, in_processes
from tutelage.experiments.request import Request, resolve_request
from tutelage.experiments.shelf import ALONE_BELOW, Shelf, opener
from tutelage.experiments.training import train
from tutelage.journal.amounts import Usage, total
from tutelage.journal.cache import CallCache
from tutelage.journal.folder import ArmJournal, read_run_file, write_whole
from tutelage.journal.ledger import Budget, Ledger
from tutelage.lab import Lab
from tutelage.records import Example, ModelRef, Scorecard, encode

Watch = Callable[[int, str, str, int, int], None]
"""(seed, arm, step, done, total)"""


def unwatched(seed: int, arm: str, step: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run left behind."""

    folder: Path
    scorecards: list[Scorecard]
    student: ModelRef | None
    """The student taught by the card's main arm under the first seed, where that arm was run."""
    dataset: list[Example]
    """What it was taught."""
    refused: Mapping[str, str]
    """`seed/arm` -> why a quality gate stopped it, and the way out."""
    calls: int
    """Model calls that were not answered from the cache, over all roles, in this invocation."""
    scored: int
    """Texts that other models read inside trainings in this invocation; no cache answers them, and a budget counts them as calls."""
    fits: int
    """Trainings done in this invocation."""


def run_folder(request: Request, out: Path | None) -> Path:
    """The folder of this request: `runs/<recipe>-<id>` unless named; a named folder of another run is refused."""
    folder = out or Path(os.environ.get("TUTELAGE_RUNS", "runs")) / f"{request.recipe.name}-{request.id.split('-')[1][:10]}"
    if folder.exists() and not folder.is_dir():
        raise SettingsError("the run folder named by --out is a file", got=folder, fix="name a folder, new or of this run")
    held = read_run_file(folder, "identity")
    if held is not None:
        there = held["identity"]
        if there != orjson.loads(orjson.dumps(request.identity)):
            wanted = orjson.loads(orjson.dumps(request.identity))
            differ = _differences(there, wanted, "")
            raise SettingsError(
                f"folder {folder} holds another run", got="; ".join(differ)[:600], fix="name another --out folder, or leave it out"
            )
    return folder


def _differences(there: Any, here: Any, path: str) -> list[str]:
    """Every place where two identities differ, by its dotted name."""
    if there == here:
        return []
    if isinstance(there, dict) and isinstance(here, dict):
        names = dict.fromkeys((*there, *here))
        return [line for n in names for line in _differences(there.get(n), here.get(n), f"{path}.{n}" if path else n)]
    return [f"{path}: there {there!r}, here {here!r}"]


def run_request(
    request: Request,
    *,
    out: Path | None = None,
    jobs: int | None = None,
    budget: str | None = None,
    command: str = "",
    watch: Watch = unwatched,
) -> Outcome:
    """Run all arms under all seeds and write the report. Finished arms are not touched again; interrupted ones replay from the cache."""
    if budget:
        Budget.parse(budget)  # refused before anything is written
    folder = run_folder(request, out)
    prepare_folder(request, folder, command)
    todo = unfinished_seeds(request, folder)
    jobs = max(1, min(jobs or default_jobs(request), len(todo) or 1))
    done: list[dict[str, int]] = []
    try:
        if todo and jobs == 1:
            done = [run_seed(request, folder, seed, budget=budget, watch=watch) for seed in todo]
        elif todo:
            done = in_processes(folder, todo, jobs, budget, watch)
    except BaseException:
        with contextlib.suppress(StorageError):  # what stopped the run must be told, not that its report could not be written either
            _write_report(folder)
        raise
    _write_report(folder)
    return _outcome(request, folder, {name: sum(one[name] for one in done) for name in ("calls", "scored", "fits")})


def unfinished_seeds(request: Request, folder: Path) -> list[int]:
    return [seed for seed in request.seeds if any(not _journal(folder, seed, arm).done() for arm in request.arms)]


def default_jobs(request: Request) -> int:
    """Two processes of one thread for small models; one process with all cores where a model is large: each process holds its own."""
    sizes = [facts.parameters or 0 for _, facts in request.models.values()]
    return min(2, os.cpu_count() or 1) if max(sizes, default=0) < ALONE_BELOW else 1


def run_seed(
    request: Request, folder: Path, seed: int, *, budget: str | None = None, cap: str | None = None, watch: Watch = unwatched
) -> dict[str, int]:
    """All unfinished arms of one seed in this process. Returns how many uncached calls, scored texts and fits it took.

    `budget` caps what the run folder spends, `cap` what each arm asks for, whether it is paid or cached.
    """
    with (
        alone(folder, seed),
        CallCache(cache_path()) as cache,
        Ledger(folder / "ledger.sqlite", budget=Budget.parse(budget) if budget else None) as ledger,
    ):
        shelf = Shelf()
        fits = 0
        before = _spent(ledger, seed, request.arms)

        def counted(**given: Any) -> Mapping[str, Any]:
            nonlocal fits
            done = train(**given)
            fits += 1
            return done

        for arm in request.arms:
            journal = _journal(folder, seed, arm)
            if journal.done():
                continue
            (folder / "seeds" / str(seed) / "crash.txt").unlink(missing_ok=True)  # of an earlier attempt
            _run_arm(
                request, folder, seed, arm, journal=journal, cache=cache, ledger=ledger, shelf=shelf, train=counted, watch=watch,
                cap=Budget.parse(cap) if cap else None,
            )  # fmt: skip
        spent = _spent(ledger, seed, request.arms) - before
        return {"calls": spent.calls - spent.scored, "scored": spent.scored, "fits": fits}


def _account(seed: int, arm: str) -> str:
    """The ledger's name for one arm under one seed: seeds run at the same time and share the ledger."""
    return f"{seed}/{arm}"


def _spent(ledger: Ledger, seed: int, arms: Sequence[str]) -> Usage:
    return total([ledger.physical(arm=_account(seed, arm)) for arm in arms])


def _run_arm(
    request: Request,
    folder: Path,
    seed: int,
    arm: str,
    *,
    journal: ArmJournal,
    cache: CallCache,
    ledger: Ledger,
    shelf: Shelf,
    train: Callable[..., Mapping[str, Any]],
    watch: Watch,
    cap: Budget | None,
) -> None:
    journal.start()

    def open_role(role: str, ref: ModelRef, facts: ModelFacts) -> Any:
        def progress(done: int, total: int) -> None:
            watch(seed, arm, f"{lab.step} ({role})", done, total)

        model = Cached(opener(shelf, ref), ref, cache=cache, ledger=ledger, role=role, arm=_account(seed, arm), progress=progress)
        return capped(model, cap=cap, ledger=ledger, role=role, arm=_account(seed, arm))

    lab = Lab(
        task=request.task,
        models=request.models,
        open_role=open_role,
        journal=journal,
        fits=folder / "fits",
        arm=arm,
        seed=seed,
        train=train,
        charging=Account(ledger, _account(seed, arm), cap),
        progress=lambda step, done, total: watch(seed, arm, step, done, total),
        test_limit=request.test_limit,
        allow_weak_sandbox=request.allow_weak_sandbox,
    )
    started = time.monotonic()
    try:
        request.recipe.run(lab, request.arm_settings(arm))
    except QualityGate as gate:
        _write_costs(journal, ledger, _account(seed, arm), lab)
        journal.event("refused", message=gate.message, got=None if gate.got is None else str(gate.got), fix=gate.fix)
    else:
        _write_costs(journal, ledger, _account(seed, arm), lab)
        journal.event("elapsed", seconds=round(time.monotonic() - started, 3))
        lab.finish()


def cache_path() -> Path:
    """One call cache per workspace."""
    return Path(os.environ.get("TUTELAGE_CACHE", "runs/cache.sqlite"))


def _write_costs(journal: ArmJournal, ledger: Ledger, account: str, lab: Lab) -> None:
    """Per role: what the arm asked for under this seed (comparable between arms; `scored` of the calls inside fits), and what had to be
    computed or paid for it, over all attempts. Roles that the recipe itself made (the judge of a reward model that it trains) stand behind
    those that the run was given."""
    for role in dict.fromkeys([*lab.roles, *sorted(ledger.logical_by_role(account))]):
        asked, paid = ledger.logical(role=role, arm=account), ledger.physical(role=role, arm=account)
        if asked.calls:
            journal.event(
                "cost", role=role, calls=asked.calls, prompt_tokens=asked.prompt_tokens, completion_tokens=asked.completion_tokens,
                scored=asked.scored, physical_calls=paid.calls, seconds=round(paid.seconds, 3), usd=paid.usd,
            )  # fmt: skip


def _journal(folder: Path, seed: int, arm: str) -> ArmJournal:
    return ArmJournal(folder / "seeds" / str(seed) / arm)


MALFORMED_TOLD = 20
"""Malformed rows that run.json names; all of them are counted."""


def prepare_folder(request: Request, folder: Path, command: str) -> None:
    """Write down what the run is, once; processes read it from there."""
    if (folder / "run.json").exists():
        return
    task, card = request.task, request.recipe.card
    body = {
        "identity": request.identity,
        "id": request.id,
        "recipe": request.recipe.name,
        "title": card.title,
        "card": {**asdict(card), "doc": request.recipe.doc},
        "settings": asdict(request.settings),
        "arms": {name: asdict(request.recipe.arms[name]) for name in request.arms},
        "seeds": list(request.seeds),
        "preset": request.preset,
        "task": {
            "name": task.name, "version": task.version, "licence": task.licence, "chance": task.chance, "description": task.description,
            "answer_format": task.answer_format, "templated": task.templated, "options": dict(task.options),
            "dropped": dict(task.dropped), "malformed": list(task.malformed[:MALFORMED_TOLD]),
            "splits": {
                "seed": len(task.seed), "train": len(task.train), "validation": len(task.validation),
                "test": len(task.test[: request.test_limit]),
            },
            "skills": list(task.skills), "solver": task.solve is not None,
        },
        "models": {
            role: {"name": ref.name, "id": ref.id, "facts": {**asdict(facts), "capabilities": sorted(facts.capabilities)}}
            for role, (ref, facts) in request.models.items()
        },
        "asked": dict(request.asked),
        "command": command,
        "versions": {name: _version(name) for name in ("tutelage", "torch", "transformers", "peft", "accelerate", "numpy")},
    }  # fmt: skip
    # The end of every chain of parents, for the report; no test problem is written.
    write_whole(folder / "task" / "seed.jsonl", b"".join(encode(p) + b"\n" for p in task.seed))
    write_whole(folder / "run.json", orjson.dumps(body, option=orjson.OPT_INDENT_2))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _write_report(folder: Path) -> None:
    from tutelage.report import write_report

    write_report(folder)


def _outcome(request: Request, folder: Path, counts: Mapping[str, int]) -> Outcome:
    cards: list[Scorecard] = []
    refused: dict[str, str] = {}
    taught: dict[int, tuple[ModelRef, list[Example]]] = {}
    for seed in request.seeds:
        for arm in request.arms:
            journal = _journal(folder, seed, arm)
            cards += [c for c in journal.records("scorecards") if isinstance(c, Scorecard)]
            for event in journal.events():
                if event["event"] == "refused":
                    refused[f"{seed}/{arm}"] = str(QualityGate(event["message"], got=event.get("got"), fix=event.get("fix")))
                if event["event"] == "fit" and event["role"] == "student" and arm == request.recipe.card.arm:
                    # Of several rounds of teaching the last one counts.
                    dataset = [r for r in journal.records("examples") if isinstance(r, Example)]
                    taught[seed] = _taught(folder / "fits" / event["key"]), dataset
    student, dataset = next(iter(taught.values()), (None, []))
    return Outcome(folder=folder, scorecards=cards, student=student, dataset=dataset, refused=refused, **counts)


def _taught(fit: Path) -> ModelRef:
    held = orjson.loads((fit / "fit.json").read_bytes())
    return ModelRef(name=f"fit:{fit.name}", digest=held["digest"], path=str(fit), adapter_of=held.get("adapter_of"))


def request_of(folder: Path) -> Request:
    """The request that a run folder was made for, resolved again."""
    found = read_run_file(folder, "identity", "asked")
    if found is None:
        raise SettingsError("this is not a run folder: it has no run.json", got=folder, fix="name a folder that `tutelage run` printed")
    asked, held = found["asked"], found["identity"]
    request = resolve_request(asked.pop("recipe"), **asked)
    if held != orjson.loads(orjson.dumps(request.identity)):
        raise SettingsError(
            f"folder {folder} was made from other models or data than those of the same names now",
            fix="start a new run, or bring the old files back",
        )
    return request


__all__ = ["BudgetExhausted", "Outcome", "TutelageError", "request_of", "run_request", "run_seed"]
