"""Run a request: a process per seed, arms one after the other, everything durable, the report at the end."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from tutelage import errors
from tutelage.backends.wrappers import Cached
from tutelage.capabilities import ModelFacts
from tutelage.errors import BudgetExhausted, InternalError, QualityGate, SettingsError, TutelageError
from tutelage.experiments.request import Request, resolve_request
from tutelage.journal.cache import CallCache
from tutelage.journal.folder import ArmJournal, write_whole
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
    fits: int
    """Trainings done in this invocation."""


def run_folder(request: Request, out: Path | None) -> Path:
    """The folder of this request: `runs/<recipe>-<id>` unless named; a named folder of another run is refused."""
    folder = out or Path(os.environ.get("TUTELAGE_RUNS", "runs")) / f"{request.recipe.name}-{request.id.split('-')[1][:10]}"
    held = folder / "run.json"
    if folder.exists() and not folder.is_dir():
        raise SettingsError("the run folder named by --out is a file", got=folder, fix="name a folder, new or of this run")
    if held.exists():
        there = orjson.loads(held.read_bytes())["identity"]
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
    _write_run(request, folder, command)
    todo = [seed for seed in request.seeds if any(not _journal(folder, seed, arm).done() for arm in request.arms)]
    jobs = max(1, min(jobs or min(2, os.cpu_count() or 1), len(todo) or 1))
    calls = fits = 0
    try:
        if todo and jobs == 1:
            for seed in todo:
                done = run_seed(request, folder, seed, budget=budget, watch=watch)
                calls, fits = calls + done["calls"], fits + done["fits"]
        elif todo:
            for done in _in_processes(folder, todo, jobs, budget, watch):
                calls, fits = calls + done["calls"], fits + done["fits"]
    finally:
        _write_report(folder)
    return _outcome(request, folder, calls, fits)


def run_seed(request: Request, folder: Path, seed: int, *, budget: str | None = None, watch: Watch = unwatched) -> dict[str, int]:
    """All unfinished arms of one seed in this process. Returns how many uncached calls and fits it took."""
    with CallCache(cache_path()) as cache, Ledger(folder / "ledger.sqlite", budget=Budget.parse(budget) if budget else None) as ledger:
        shelf = Shelf()
        fits = 0
        before = ledger.physical().calls

        def train(**given: Any) -> Mapping[str, Any]:
            nonlocal fits
            done = _train(**given)
            fits += 1
            return done

        for arm in request.arms:
            journal = _journal(folder, seed, arm)
            if journal.done():
                continue
            (folder / "seeds" / str(seed) / "crash.txt").unlink(missing_ok=True)  # of an earlier attempt
            _run_arm(request, folder, seed, arm, journal=journal, cache=cache, ledger=ledger, shelf=shelf, train=train, watch=watch)
        return {"calls": ledger.physical().calls - before, "fits": fits}


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
) -> None:
    journal.start()

    def open_role(role: str, ref: ModelRef, facts: ModelFacts) -> Cached:
        def progress(done: int, total: int) -> None:
            watch(seed, arm, f"{lab.step} ({role})", done, total)

        return Cached(_opener(shelf, ref), ref, cache=cache, ledger=ledger, role=role, arm=arm, progress=progress)

    lab = Lab(
        task=request.task,
        models=request.models,
        open_role=open_role,
        journal=journal,
        fits=folder / "fits",
        arm=arm,
        seed=seed,
        train=train,
        progress=lambda step, done, total: watch(seed, arm, step, done, total),
        test_limit=request.test_limit,
    )
    started = time.monotonic()
    try:
        request.recipe.run(lab, request.arm_settings(arm))
    except QualityGate as gate:
        _write_costs(journal, ledger, arm, lab)
        journal.event("refused", message=gate.message, got=None if gate.got is None else str(gate.got), fix=gate.fix)
    else:
        _write_costs(journal, ledger, arm, lab)
        journal.event("elapsed", seconds=round(time.monotonic() - started, 3))
        lab.finish()


def cache_path() -> Path:
    """One call cache per workspace."""
    return Path(os.environ.get("TUTELAGE_CACHE", "runs/cache.sqlite"))


ALONE_BELOW = 10_000_000
"""Models of fewer parameters are run by one thread, as they are trained by one."""
OPEN_AT_MOST = 4
"""Models held open in one process; beyond it the one unused for longest is let go and opened again when it is needed."""


class Shelf:
    """The models that this process has open. A run trains many students; holding all of them would fill the memory."""

    def __init__(self) -> None:
        self._open: dict[str, Any] = {}

    def model(self, ref: ModelRef) -> Any:
        """The open model of `ref`, opened now if it is not, and marked as the last one used."""
        model = self._open.pop(ref.id, None)
        if model is None:
            from tutelage import backends

            while len(self._open) >= OPEN_AT_MOST:
                oldest = self._open.pop(next(iter(self._open)))
                close = getattr(oldest, "close", None)
                if close is not None:
                    close()
            parameters = backends.facts(ref).parameters
            # Small models on a CPU lose more to threads waiting for one another than they gain; parallelism is processes over seeds.
            alone = {"threads": 1} if parameters is not None and parameters < ALONE_BELOW else {}
            model = backends.open_backend(ref, **alone)
        self._open[ref.id] = model
        return model


def _opener(shelf: Shelf, ref: ModelRef) -> Callable[[], Any]:
    """How a role opens its model. Models with local weights go to the shelf; an endpoint holds no weights and stays with its role."""
    from tutelage import backends

    return (lambda: backends.open_backend(ref)) if ref.path is None else (lambda: _Shelved(shelf, ref))


class _Shelved:
    """A model taken from the shelf anew for every call, so that the shelf alone decides what stays open."""

    def __init__(self, shelf: Shelf, ref: ModelRef) -> None:
        self._shelf, self._ref = shelf, ref

    def generate(self, prompts: Any, sampling: Any) -> Any:
        return self._shelf.model(self._ref).generate(prompts, sampling)

    def score(self, prompts: Any, completions: Any) -> Any:
        return self._shelf.model(self._ref).score(prompts, completions)

    def embed(self, texts: Any) -> Any:
        return self._shelf.model(self._ref).embed(texts)


LOG_LINES = 60
"""Steps of a fit's log that the journal keeps, evenly spread; the last one always."""


def _train(
    *, model: ModelRef, source: Any, objective: Any, targets: Any, settings: Any, seed: int, out: Path, progress: Any
) -> dict[str, Any]:
    """Do the training behind `lab.fit` and describe it for fit.json."""
    from tutelage.engine.digest import digest_of, inspect_folder
    from tutelage.train.loop import fit

    if out.exists():  # weights whose fit.json was never written: a kill came between; the same weights are made again
        shutil.rmtree(out)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    result = fit(
        model=Path(str(model.path)), source=source, objective=objective, targets=targets, settings=settings, seed=seed, out=out,
        progress=progress, checkpoint=checkpoint,
    )  # fmt: skip
    if checkpoint.exists():
        shutil.rmtree(checkpoint)
    folder = inspect_folder(out)
    every = max(1, len(result.log) // LOG_LINES)
    log = [row for i, row in enumerate(result.log) if i % every == 0 or i == len(result.log) - 1]
    return {
        "digest": digest_of(folder),
        "adapter_of": digest_of(folder.base) if folder.base is not None else None,
        "parent": model.id,
        "examples": len(getattr(source, "records", ())) or result.examples,
        "seen": result.examples,
        "tokens": result.tokens,
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "log": log,
        "before": dict(result.before),
        "after": dict(result.after),
        "dropped": dict(result.dropped),
        "notes": list(result.notes),
    }


def _write_costs(journal: ArmJournal, ledger: Ledger, arm: str, lab: Lab) -> None:
    """Per role: what the arm asked for (comparable between arms), and what had to be computed or paid for it so far."""
    for role in dict.fromkeys(lab.roles):
        asked, paid = ledger.logical(role=role, arm=arm), ledger.physical(role=role, arm=arm)
        if asked.calls:
            journal.event(
                "cost", role=role, calls=asked.calls, prompt_tokens=asked.prompt_tokens, completion_tokens=asked.completion_tokens,
                physical_calls=paid.calls, seconds=round(paid.seconds, 3), usd=paid.usd,
            )  # fmt: skip


def _journal(folder: Path, seed: int, arm: str) -> ArmJournal:
    return ArmJournal(folder / "seeds" / str(seed) / arm)


MALFORMED_TOLD = 20
"""Malformed rows that run.json names; all of them are counted."""


def _write_run(request: Request, folder: Path, command: str) -> None:
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


def _outcome(request: Request, folder: Path, calls: int, fits: int) -> Outcome:
    cards: list[Scorecard] = []
    refused: dict[str, str] = {}
    student: ModelRef | None = None
    dataset: list[Example] = []
    for seed in request.seeds:
        for arm in request.arms:
            journal = _journal(folder, seed, arm)
            cards += [c for c in journal.records("scorecards") if isinstance(c, Scorecard)]
            for event in journal.events():
                if event["event"] == "refused":
                    refused[f"{seed}/{arm}"] = str(QualityGate(event["message"], got=event.get("got"), fix=event.get("fix")))
                if event["event"] == "fit" and event["role"] == "student" and arm == request.recipe.card.arm and student is None:
                    fit = orjson.loads((folder / "fits" / event["key"] / "fit.json").read_bytes())
                    student = ModelRef(
                        name=f"fit:{event['key']}",
                        digest=fit["digest"],
                        path=str(folder / "fits" / event["key"]),
                        adapter_of=fit.get("adapter_of"),
                    )
                    dataset = [r for r in journal.records("examples") if isinstance(r, Example)]
    return Outcome(folder=folder, scorecards=cards, student=student, dataset=dataset, refused=refused, calls=calls, fits=fits)


# -- processes -----------------------------------------------------------------------------------------------------------------


def _in_processes(folder: Path, seeds: Sequence[int], jobs: int, budget: str | None, watch: Watch) -> list[dict[str, int]]:
    """Run seeds in `jobs` processes of one thread.

    Children end when this process ends: they read their standard input and stop at its end.
    """
    waiting = list(seeds)
    running: dict[int, subprocess.Popen[bytes]] = {}
    results: dict[int, dict[str, Any]] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

    def listen(seed: int, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if "step" in row:
                watch(seed, row["arm"], row["step"], row["done"], row["total"])
            else:
                results[seed] = row

    listeners: list[threading.Thread] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                seed = waiting.pop(0)
                command = [sys.executable, "-m", "tutelage.experiments.worker", str(folder), str(seed), *([budget] if budget else [])]
                child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True)
                running[seed] = child
                listener = threading.Thread(target=listen, args=(seed, child), daemon=True)
                listener.start()
                listeners.append(listener)
            time.sleep(0.02)
            for seed, child in list(running.items()):
                if child.poll() is not None:
                    del running[seed]
                    for listener in listeners:
                        listener.join(timeout=5)
                    _check(seed, child.returncode, results.get(seed), folder)
    finally:
        for child in running.values():
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        for child in running.values():
            child.wait()
    return [results[seed] for seed in seeds]


def _check(seed: int, code: int, result: dict[str, Any] | None, folder: Path) -> None:
    if code == 0 and result is not None and "calls" in result:
        return
    if result is not None and "error" in result:
        kind = getattr(errors, result["error"], InternalError)
        raise kind(result["message"], got=result.get("got"), fix=result.get("fix"))
    raise InternalError(
        f"the process of seed {seed} ended without a result",
        got=f"exit {code}",
        fix=f"see {folder}/seeds/{seed}/crash.txt; the same command continues",
    )


def request_of(folder: Path) -> Request:
    """The request that a run folder was made for, resolved again."""
    asked = orjson.loads((folder / "run.json").read_bytes())["asked"]
    request = resolve_request(asked.pop("recipe"), **asked)
    held = orjson.loads((folder / "run.json").read_bytes())["identity"]
    if held != orjson.loads(orjson.dumps(request.identity)):
        raise SettingsError(
            f"folder {folder} was made from other models or data than those of the same names now",
            fix="start a new run, or bring the old files back",
        )
    return request


__all__ = ["BudgetExhausted", "Outcome", "TutelageError", "request_of", "run_request", "run_seed"]
