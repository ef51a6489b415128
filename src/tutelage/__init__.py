"""Tutelage teaches small language models with large ones and lets the small ones answer back.

The library door is `run`; importing this loads neither torch nor a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.experiments.run import Outcome

__version__ = "0.1.0"
__all__ = ["__version__", "run"]


def run(
    recipe: str,
    *,
    task: str,
    teacher: str | None = None,
    student: str | None = None,
    pool: Sequence[str] = (),
    arms: Sequence[str] = (),
    seed: int | None = None,
    seeds: Sequence[int] = (0,),
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    task_options: Mapping[str, Any] | None = None,
    test_limit: int | None = None,
    jobs: int = 1,
    budget: str | None = None,
    out: Path | str | None = None,
) -> Outcome:
    """Run a recipe as `tutelage run` does and return what it left behind.

    `settings` and `task_options` are what `--set` and `--task-set` give on the command line, nested names with dots. Raises
    `tutelage.errors.TutelageError` with the message, value and way out that the command line prints.
    """
    from tutelage.experiments.request import resolve_request
    from tutelage.experiments.run import run_request

    request = resolve_request(
        recipe,
        task=task,
        teacher=teacher,
        student=student,
        pool=pool,
        arms=arms,
        seeds=(seed,) if seed is not None else tuple(seeds),
        preset=preset,
        overrides=settings,
        task_options=task_options,
        test_limit=test_limit,
    )
    return run_request(
        request, out=Path(out) if out is not None else None, jobs=jobs, budget=budget, command=f"tutelage.run({recipe!r}, ...)"
    )
