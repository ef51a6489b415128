"""The teaching environment of `dataenvgym` outside of a run: for policies that are tried by hand or learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage import rounds
from tutelage.backends.wrappers import Cached
from tutelage.capabilities import ModelFacts
from tutelage.experiments.charging import Account
from tutelage.experiments.processes import alone
from tutelage.experiments.request import resolve_request
from tutelage.experiments.run import cache_path
from tutelage.experiments.shelf import Shelf, opener
from tutelage.experiments.training import train
from tutelage.journal.cache import CallCache
from tutelage.journal.folder import ArmJournal
from tutelage.journal.ledger import Budget, Ledger
from tutelage.lab import Lab, Role
from tutelage.records import ModelRef
from tutelage.tasks.task import by_skill

if TYPE_CHECKING:
    from tutelage.classroom.gym import TeachingEnv

ACCOUNT = "teaching"


@contextmanager
def teaching_env(
    *,
    task: str,
    teacher: str,
    student: str,
    out: Path | str,
    seed: int = 0,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    task_options: Mapping[str, Any] | None = None,
    budget: str | None = None,
    most_each: int = 10,
) -> Iterator[TeachingEnv[Role]]:
    """A Gymnasium environment in which the teacher writes look-alikes of seed problems and the student learns from them.

    Settings are those of the recipe `dataenvgym`; `rows` is the most that one step writes. Answers and fits are kept in the call cache and
    under `out`, so that an episode that was lived before costs nothing. Needs the extra `gym`.
    """
    from tutelage.classroom.gym import TeachingEnv
    from tutelage.recipes.dataenvgym import classroom_of, engine_of

    request = resolve_request(
        "dataenvgym", task=task, teacher=teacher, student=student, arms=["llm2llm"], seeds=(seed,), preset=preset, overrides=settings,
        task_options=task_options,
    )  # fmt: skip
    s, folder = request.arm_settings("llm2llm"), Path(out)
    with (
        alone(folder, seed),
        CallCache(cache_path()) as cache,
        Ledger(folder / "ledger.sqlite", budget=Budget.parse(budget) if budget else None) as ledger,
    ):
        shelf = Shelf()
        journal = ArmJournal(folder / "seeds" / str(seed) / ACCOUNT)
        journal.start()

        def open_role(role: str, ref: ModelRef, facts: ModelFacts) -> Cached:
            return Cached(opener(shelf, ref), ref, cache=cache, ledger=ledger, role=role, arm=f"{seed}/{ACCOUNT}")

        lab = Lab(
            task=request.task, models=request.models, open_role=open_role, journal=journal, fits=folder / "fits", arm=ACCOUNT, seed=seed,
            train=train, charging=Account(ledger, f"{seed}/{ACCOUNT}"),
        )  # fmt: skip
        shown = rounds.worked_seeds(lab, "seed", wanted=s.seeds)
        validation = [p for mine in by_skill(lab.task.validation).values() for p in mine[: s.validation]]
        room = classroom_of(lab, s, shown, validation)
        yield TeachingEnv(room, lambda: engine_of(lab, s, shown), seed=shown, most_each=most_each, most_rows=s.rows)
