"""`tutelage compare`: recipes at equal cost, as a leaderboard."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tutelage.cli.options import (
    Json,
    Pool,
    Preset,
    Seed,
    Seeds,
    Student,
    TaskName,
    TaskSets,
    Teacher,
    TestLimit,
    Toy,
    named_seeds,
    pairs,
    print_json,
)
from tutelage.errors import BudgetExhausted, SettingsError


def compare(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE[:ARM]...", help="Two or more; another arm as RECIPE:ARM.")],
    task: TaskName,
    budget: Annotated[str | None, typer.Option("--budget", help="For each recipe and seed: calls=1500, tokens=200k or usd=0.50.")] = None,
    teacher: Teacher = None,
    student: Student = None,
    pool: Pool = None,
    seed: Seed = None,
    seeds: Seeds = None,
    preset: Preset = None,
    toy: Toy = False,
    sets: Annotated[list[str] | None, typer.Option("--set", help="RECIPE.NAME=VALUE, or '*.NAME=VALUE' for all; may be repeated.")] = None,
    task_sets: TaskSets = None,
    yields: Annotated[
        list[str] | None,
        typer.Option("--yield", help="RECIPE=SHARE or SHARE: replies that sizing takes to be usable, 0.7 by default; may be repeated."),
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="What to rank by; the first that all measure by default.")] = None,
    resize: Annotated[
        bool | None,
        typer.Option(
            "--resize/--no-resize", help="Run a recipe again, smaller, when it met its cap; by default where calls cost no money."
        ),
    ] = None,
    test_limit: TestLimit = None,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Processes; two by default.", min=1)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the leaderboard; runs/compare-<id> by default.")] = None,
    plan_only: Annotated[bool, typer.Option("--plan", help="Size the recipes and stop: nothing is asked.")] = False,
    as_json: Json = False,
) -> None:
    """Run recipes at an equal teacher budget under the same seeds, and rank them. The same command again continues."""
    from tutelage.cli.progress import watching
    from tutelage.experiments.compare import plan_comparison, run_comparison

    if toy and preset not in (None, "toy"):
        raise SettingsError("--toy and --preset disagree", got=preset, fix="use one of them")
    plan = plan_comparison(
        recipes,
        task=task,
        budget=budget,
        teacher=teacher,
        student=student,
        pool=pool or (),
        seeds=tuple(named_seeds(seed, seeds)),
        preset="toy" if toy else preset,
        overrides=pairs(sets, "--set"),
        task_options=pairs(task_sets, "--task-set"),
        test_limit=test_limit,
        yields=_shares(yields),
        metric=metric,
        command=shlex.join(["tutelage", *sys.argv[1:]]),
    )
    if plan_only or not as_json:
        _print_sizes(plan, as_json=as_json)
    if plan_only:
        return
    with watching(plan, quiet=as_json) as watch:
        done = run_comparison(plan, out=out, jobs=jobs, resize=resize, watch=watch)
    if as_json:
        print_json({**done.board, "calls": done.calls, "fits": done.fits, "leaderboard": str(done.folder / "leaderboard.html")})
    else:
        _print_board(done)
    if done.errors:
        for where, error in done.errors.items():
            print(f"error: {where}: {error}", file=sys.stderr)
        other = [e.exit_code for e in done.errors.values() if not isinstance(e, BudgetExhausted)]
        raise typer.Exit(other[0] if other else BudgetExhausted.exit_code)


def _shares(texts: Sequence[str] | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts or ():
        who, sign, share = text.rpartition("=")
        try:
            found[who if sign else "*"] = float(share)
        except ValueError:
            raise SettingsError("--yield takes RECIPE=SHARE or SHARE", got=text, fix="for example --yield 0.5") from None
    return found


def _print_sizes(plan: Any, *, as_json: bool) -> None:
    """What every recipe was sized to."""
    unit = next(iter(plan.comparison.budget))
    if as_json:
        print_json(
            {
                name: {
                    "sizes": s.sizes,
                    "fits": s.fits,
                    "exhausted": s.exhausted,
                    "planned": {u: s.planned.of(u) for u in plan.comparison.budget},
                }
                for name, s in plan.sized.items()
            }
        )
        return
    print(f"{len(plan.running)} recipes on {plan.comparison.task}, seeds {', '.join(map(str, plan.comparison.seeds))}, each at {plan.cap}")
    for name, s in plan.sized.items():
        sizes = ", ".join(f"{k}={v}" for k, v in s.sizes.items()) or "asks no teacher"
        least, _, most = s.planned.of(unit)
        if not s.fits:
            print(f"  {name}: left out, {plan.comparison.left_out[name]}")
        else:
            what = "all that the task has" if not s.fixed else "whatever the size" if most else "asks these models' teacher nothing"
            print(f"  {name}: {sizes}; planned {least:,.4g} to {most:,.4g} {unit}{f' ({what})' if s.exhausted and s.sizes else ''}")
    sys.stdout.flush()


def _print_board(done: Any) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    for heading in (done.board["metric"], "difference to best", "teacher calls", "teacher tokens", "training tokens", "time"):
        table.add_column(heading, justify="right")
    for row in done.board["rows"]:
        teacher = row["teacher"] or {}
        table.add_row(
            row["name"],
            _interval(row["score"]),
            _interval(row["to_best"], signed=True),
            *(f"{teacher[unit]['mean']:,.0f}" if teacher else "-" for unit in ("calls", "tokens")),
            f"{row['training_tokens'].get('student', 0):,.0f}",
            "-" if row["elapsed_s"] is None else f"{row['elapsed_s']:,.0f} s",
        )
    console.print(table)
    print(done.board["said"])
    for row in done.board["rows"]:
        for remark in row["remarks"]:
            print(f"{row['name']}: {remark}")
    for name, why in done.board["left_out"].items():
        print(f"{name} was not run: {why}")
    print(
        "95 % intervals over seeds (with one seed: over test problems), uncorrected; whether rows differ is said after Holm's correction. "
        "Costs are per seed, cache included."
    )
    print(f"\n{done.calls:,} new model calls and {done.fits} new trainings in this invocation.")
    print(f"Leaderboard: {done.folder / 'leaderboard.html'}")


def _interval(found: dict[str, Any] | None, *, signed: bool = False) -> str:
    if not found or found["value"] is None:
        return "-"
    sign = "+" if signed else ""
    mean = f"{found['value']:{sign}.3f}"
    if found["low"] is None or found["high"] is None:
        return mean
    return f"{mean} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"
