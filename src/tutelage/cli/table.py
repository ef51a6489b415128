"""What a run found and what a plan expects, as tables on the terminal."""

from __future__ import annotations

import sys
from typing import Any

import orjson

from tutelage.experiments.plan import Plan
from tutelage.experiments.request import Request
from tutelage.experiments.run import Outcome


def print_outcome(request: Request, outcome: Outcome, *, as_json: bool) -> None:
    from tutelage.report import summarise
    from tutelage.report.omitted import rows_left_out, work_left_out
    from tutelage.report.read import read_run

    run = read_run(outcome.folder)
    summary = summarise(run)
    report = outcome.folder / "report.html"
    if as_json:
        body = {
            **summary,
            "folder": str(outcome.folder),
            "report": str(report),
            "refused": dict(outcome.refused),
            "left_out": [*filter(None, [rows_left_out(run)]), *work_left_out(run)],
            "calls": outcome.calls,
            "scored": outcome.scored,
            "fits": outcome.fits,
        }
        sys.stdout.buffer.write(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
        sys.stdout.buffer.flush()
        return
    print()
    print_arms(summary)
    for where, why in outcome.refused.items():
        seed, arm = where.split("/", 1)
        print(f"\nseed {seed}, arm {arm} was stopped: {why}")
    for line in filter(None, (rows_left_out(run), *work_left_out(run))):
        print(f"\nnote: {line}")
    scored = f", {outcome.scored:,} texts scored in training" if outcome.scored else ""
    print(f"\n{outcome.calls:,} new model calls{scored} and {outcome.fits} new trainings in this invocation.")
    print(f"Report: {report}")


def print_arms(summary: dict[str, Any]) -> None:
    """The arms with intervals, paired differences and costs."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("arm", no_wrap=True)
    metrics = summary["metrics"]
    for metric in metrics:
        table.add_column(metric, justify="right")
    table.add_column(f"against {summary['baseline']}", justify="right")
    for heading in ("teacher calls", "teacher tokens", "trained on"):
        table.add_column(heading, justify="right")
    for arm in summary["arms"]:
        cells = [_estimate(arm["metrics"].get(metric)) for metric in metrics]
        first = arm["metrics"].get(metrics[0]) if metrics else None
        difference = first.get("difference") if first else None
        teacher = arm["cost"]["roles"].get("teacher", {})
        taught = arm["cost"]["training"].get("student", {})
        mark = " (control)" if arm["control"] else ""
        table.add_row(
            arm["name"] + mark,
            *cells,
            _estimate(difference, signed=True),
            f"{teacher.get('calls', 0):,.0f}" + (f" ({scored:,.0f} scored)" if (scored := teacher.get("scored", 0)) else ""),
            f"{teacher.get('prompt_tokens', 0) + teacher.get('completion_tokens', 0):,.0f}",
            f"{taught.get('examples', 0):,.0f} examples",
        )
    console.print(table)
    print("Mean and 95 % interval over seeds (with one seed: over test problems). Costs are per seed; the cache is not subtracted.")


def print_plan(request: Request, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(plan.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("arm", "role", "calls", "prompt tokens", "completion tokens", "usd", "trainings", "examples"):
        table.add_column(heading, justify="left" if heading in ("arm", "role") else "right")
    for row in plan.rows:
        table.add_row(
            row.arm,
            row.role,
            _span(*row.calls) + (f" ({_span(*row.scored)} scored)" if row.scored[1] else ""),
            *(_span(low, high) for low, high in (row.prompt_tokens, row.completion_tokens)),
            _dollars(row.usd),
            str(row.fits),
            _span(*row.examples),
        )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(
        f"{request.recipe.name} on {request.task.name}, preset {request.preset}: "
        f"one seed of {len(request.seeds)}; nothing was asked or trained."
    )
    console.print(table)
    low, high = plan.unique_teacher_calls
    print(f"Arms share calls: all arms together need {_span(low, high)} different teacher calls per seed.")
    for line in _bill_lines(plan, seeds=len(request.seeds)):
        print(line)
    for line in plan.notes:
        print(line)


def _estimate(found: dict[str, Any] | None, *, signed: bool = False) -> str:
    if not found:
        return "-"
    mean = f"{found['mean']:+.3f}" if signed else f"{found['mean']:.3f}"
    if found.get("low") is None or found.get("high") is None:
        return mean
    low, high = (f"{found[k]:+.3f}" if signed else f"{found[k]:.3f}" for k in ("low", "high"))
    return f"{mean} [{low}, {high}]"


def _bill_lines(plan: Plan, *, seeds: int) -> list[str]:
    """What is to be paid, role by role, and where a price is missing how to name one."""
    if not plan.bills:
        return ["Nothing is to be paid: all models run in this process."]
    lines = []
    for bill in plan.bills:
        amounts = f"{_span(*bill.calls)} calls, {_span(*bill.tokens)} tokens"
        money = f"{_dollars(bill.usd)} ({bill.price})" if bill.usd else "price not known"
        lines.append(f"To be paid for the {bill.role} over all arms and {seeds} seed{'s' * (seeds > 1)}: {amounts}, {money}.  {bill.model}")
    if plan.usd is None:
        lines.append("No sum in dollars: name a TOML file with the missing price in TUTELAGE_PRICES (example: docs/guides/endpoints.md).")
    elif len(plan.bills) > 1:
        lines.append(f"Together: {_dollars(plan.usd)}.")
    lines.append("A cap (--budget) must leave room above that: what is under way counts at its worst case until it is answered.")
    return lines


def _dollars(amount: tuple[float, float] | None) -> str:
    """Two decimals, or two digits that count where it is less than a dollar; `?` where no price is known."""
    if amount is None:
        return "?"
    low, high = (f"{value:,.2f}" if value >= 1 or not value else f"{value:.2g}" for value in amount)
    if high == "0.00":
        return "-"
    return f"${low}" if low == high else f"${low} to ${high}"


def _span(low: float, high: float) -> str:
    return f"{low:,.0f}" if round(low) == round(high) else f"{low:,.0f} to {high:,.0f}"
