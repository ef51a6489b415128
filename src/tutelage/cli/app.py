"""One typer application; errors of ours become one message and the exit code of their kind."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.cache import cache
from tutelage.cli.compare import compare
from tutelage.cli.options import Json, names_a_request, print_json
from tutelage.cli.reproduce import reproduce
from tutelage.cli.score import score
from tutelage.errors import BudgetExhausted, SettingsError, TutelageError

if TYPE_CHECKING:
    from tutelage.experiments.request import Request

OPTIONS: dict[str, Any] = {
    "add_completion": False,
    "no_args_is_help": True,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "suggest_commands": False,  # click says it already
}
app = typer.Typer(**OPTIONS)

INTERRUPTED = 130

app.add_typer(cache, name="cache")
app.command(short_help="Run recipes at one teacher budget and rank them.")(compare)
app.command()(reproduce)
app.command(short_help="Rate replies with a reward model.")(score)


@app.callback()
def tutelage() -> None:
    """Teach small language models with large ones, and let the small ones answer back."""


@app.command("list")
def list_recipes(
    as_json: Json = False, markdown: Annotated[bool, typer.Option("--markdown", help="A table, as in the README.")] = False
) -> None:
    """The recipes, one line each."""
    from dataclasses import asdict

    from tutelage.recipes import recipe_lines

    lines = recipe_lines()
    if as_json:
        print_json([asdict(line) for line in lines])
        return
    if markdown:
        from tutelage.report.text import md_table

        print(md_table(("recipe", "family", "what it claims"), [(line.name, line.family, line.claim) for line in lines]))
        return
    width = max(len(line.name) for line in lines)
    for line in lines:
        print(f"{line.name:<{width}}  {line.claim}")


@app.command(short_help="One recipe: its algorithm, arms and settings.")
def show(recipe: str, as_json: Json = False) -> None:
    """One recipe: its algorithm, arms, settings with their sources, and what the paper reports."""
    from tutelage.cli.show import card_as_dict, card_as_text
    from tutelage.recipes import load_recipe

    found = load_recipe(recipe)
    if as_json:
        print_json(card_as_dict(found))
    else:
        print(card_as_text(found))


@app.command()
@names_a_request
def run(
    request: Request,
    *,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Processes; two by default, at most one per seed.", min=1)] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Hard cap, for example calls=2000,tokens=1e6,usd=5,minutes=30.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; runs/<recipe>-<id> by default.")] = None,
    as_json: Json = False,
) -> None:
    """Run a recipe. The same command again continues what was interrupted and repeats nothing."""
    from tutelage.cli.progress import watching
    from tutelage.cli.table import print_outcome
    from tutelage.experiments.run import run_request

    command = shlex.join(["tutelage", *sys.argv[1:]])
    if not as_json:
        print(
            f"{request.recipe.name} on {request.task.name}: {'one arm' if len(request.arms) == 1 else f'{len(request.arms)} arms'}, "
            f"seeds {', '.join(map(str, request.seeds))}, preset {request.preset}",
            flush=True,
        )
    with watching(request, quiet=as_json) as watch:
        outcome = run_request(request, out=out, jobs=jobs, budget=budget, command=command, watch=watch)
    print_outcome(request, outcome, as_json=as_json)
    if outcome.refused:
        raise typer.Exit(4)


@app.command(short_help="What a run would ask and train; nothing is spent.")
@names_a_request
def plan(request: Request, *, as_json: Json = False) -> None:
    """What a run would ask and train, before anything is spent: calls and tokens per role and arm, as a range."""
    from tutelage.cli.table import print_plan
    from tutelage.experiments.plan import plan_request

    print_plan(request, plan_request(request), as_json=as_json)


@app.command(short_help="Write the report of a run folder again.")
def report(folder: Path, as_json: Json = False) -> None:
    """Write report.html and report.md of a run folder again, and say where they are."""
    from tutelage.report import summarise, write_report

    _run_folder(folder)
    html, markdown = write_report(folder)
    if as_json:
        print_json(summarise(folder))
    else:
        print(html)
        print(markdown)


@app.command(short_help="A run's data as TRL reads it, and its student.")
def export(
    folder: Path,
    to: Annotated[str, typer.Option("--to", help="trl: JSONL with the columns that TRL reads.")] = "trl",
    arm: Annotated[str | None, typer.Option("--arm", help="The arm of the recipe's system by default.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The first seed by default.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to; FOLDER/export/ARM-seedN by default.")] = None,
    as_json: Json = False,
) -> None:
    """The tailored data as other tools read it, and the student as a normal Hugging Face checkpoint, each with a card."""
    from tutelage.report import export as write_export

    _run_folder(folder)
    written = write_export(folder, to=to, arm=arm, seed=seed, out=out)
    if as_json:
        print_json([str(path) for path in written])
        return
    for path in written:
        print(path)


@app.command(short_help="What is installed and reachable here.")
def doctor(
    losses: Annotated[
        list[str] | None, typer.Option("--losses", help="A model, or a student and a teacher (twice): check the losses on them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What is installed and reachable here; with --losses the invariances of the losses on your own models."""
    from tutelage.cli.doctor import check_losses, examine, print_findings, print_losses

    if losses:
        found = check_losses(losses)
        if as_json:
            print_json(found)
        else:
            print_losses(found)
        if not found["passed"]:
            raise typer.Exit(1)
        return
    findings = examine()
    if as_json:
        print_json(findings)
    else:
        print_findings(findings)


@app.command(short_help="Rewrite a data file in another shape or container.")
def convert(
    source: Path,
    target: Path,
    to: Annotated[str | None, typer.Option("--to", help="Shape to write; the source's own by default.")] = None,
    shape: Annotated[str | None, typer.Option("--from", help="Shape to read; told from the columns by default.")] = None,
) -> None:
    """Rewrite a data file in another shape (TRL's, alpaca, sharegpt) or container (JSONL, Parquet); lossy conversions are refused."""
    from tutelage.formats import convert as convert_file

    found, written, rows = convert_file(source, target, to=to, shape=shape)
    print(f"{target}: {rows:,} rows, {found} -> {written}")


@app.command(short_help="What is wrong in a data file, and how to fix it.")
def validate(
    file: Path,
    shape: Annotated[str | None, typer.Option("--as", help="Shape to expect; told from the columns by default.")] = None,
    as_json: Json = False,
) -> None:
    """What is wrong in a data file, row by row, and what would fix it."""
    from dataclasses import asdict

    from tutelage.formats import validate as validate_file

    found = validate_file(file, shape=shape)
    if as_json:
        print_json({**asdict(found), "ok": found.ok})
    else:
        print(f"{found.path}: {found.good:,} of {found.rows:,} rows can be used, shape {found.shape or 'not recognised'}")
        for kind, count in found.counts:
            print(f"  {count:,} x {kind}")
        for problem in found.problems:
            print(f"  {problem}")
        for note in found.notes:
            print(f"  note: {note}")
    if not found.ok:
        raise typer.Exit(2)


def _run_folder(folder: Path) -> None:
    if not (folder / "run.json").exists():
        raise SettingsError(
            "this is not a run folder: it has no run.json",
            got=folder,
            fix="name a folder that `tutelage run` printed, usually runs/<recipe>-<id>",
        )


def _without_budget(typed: Sequence[str]) -> list[str]:
    """The command without its old cap."""
    kept: list[str] = []
    skip = False
    for word in typed:
        if skip or word.startswith("--budget="):
            skip = False
        elif word == "--budget":
            skip = True
        else:
            kept.append(word)
    return kept


def _with_only(verb: Sequence[str]) -> typer.Typer:
    """The application with the asked verb alone, because reading the options of all verbs takes a tenth of the time of a short one.

    Everything where the first word is no verb: `--help`, a mistyped one, a group.
    """
    asked = [command for command in app.registered_commands if [command.name or getattr(command.callback, "__name__", "")] == [*verb]]
    if not asked:
        return app
    alone = typer.Typer(**OPTIONS, callback=tutelage)
    alone.registered_commands = asked
    return alone


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point: exit codes are those of `errors` (2 usage, 3 budget, 4 quality gate, 5 missing, 130 interrupted)."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # what a command raised as `typer.Exit`, also for Ctrl-C; None where it just ended
        code = _with_only(typed[:1])(typed, prog_name="tutelage", standalone_mode=False)
    except TutelageError as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, BudgetExhausted):
            print(f"continue with: {shlex.join(['tutelage', *_without_budget(typed)])} --budget MORE", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is None:
            raise
        # click's usage errors: unknown option, missing argument, wrong type
        verb = getattr(getattr(error, "ctx", None), "command_path", "tutelage")
        print(f"error: {usage()}\n  fix: '{verb} --help' shows what can be given", file=sys.stderr)
        return 2
    if code == INTERRUPTED:
        print("interrupted: what was answered is kept; the same command continues", file=sys.stderr)
    return code if isinstance(code, int) else 0
