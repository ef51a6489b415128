"""`tutelage reproduce`: a recipe's declared experiment, its verdict, and its record."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tutelage.cli.options import Json, print_json
from tutelage.errors import SettingsError


def reproduce(
    recipes: Annotated[list[str] | None, typer.Argument(metavar="RECIPE[:EXPERIMENT]...", help="All experiments, or one by name.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Fewer or more than declared: a look, no record.", min=1)] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Seeds 100, 101, ... and the task options for tuning; leaves no record.")] = False,
    declare: Annotated[bool, typer.Option("--declare", help="Write the page of the declaration and stop: nothing is run.")] = False,
    claims: Annotated[bool, typer.Option("--write-claims", help="Write claims.md from the records.")] = False,
    docs: Annotated[
        Path | None, typer.Option("--docs", help="Folder of records/ and claims.md; docs/ of the work tree by default.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Processes; two by default, at most one per seed.", min=1)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; runs/<recipe>-<id> by default.")] = None,
    as_json: Json = False,
) -> None:
    """Run a recipe's declared experiment and judge it by its rule. The same command again continues."""
    from tutelage.experiments.reproduce import experiments_of, prepare

    if not recipes and not claims:
        raise SettingsError("reproduce needs a recipe", fix="tutelage reproduce arte, or --write-claims")
    if tune and declare:
        raise SettingsError("--tune and --declare exclude one another", fix="tune first, then declare")
    checks = [
        prepare(name, recipe, experiment, seeds=seeds, tune=tune)
        for text in recipes or ()
        for name, recipe, experiment in experiments_of(text)
    ]
    if out is not None and len(checks) > 1:
        raise SettingsError("--out names one run folder", got=f"{len(checks)} experiments", fix="name one experiment: RECIPE:EXPERIMENT")
    found = [_declare(check, docs) if declare else _run(check, docs, out, jobs, quiet=as_json) for check in checks]
    if claims:
        from tutelage.experiments.claims import write_claims

        folder = _docs(docs, Path.cwd())
        if folder is None:
            raise SettingsError("claims.md needs a folder", got="no git work tree here", fix="--docs DIR")
        found.append({"claims": str(write_claims(folder / "records", folder / "claims.md"))})
        if not as_json:
            print(found[-1]["claims"])
    if as_json:
        print_json(found)


def _docs(named: Path | None, near: Path) -> Path | None:
    """The documentation folder to write to; None where there is none."""
    from tutelage.experiments.declaration import repository_of

    if named is not None:
        return named
    top = repository_of(near / "here")
    return None if top is None or not (top / "docs").is_dir() else top / "docs"


def _declare(check: Any, docs: Path | None) -> dict[str, Any]:
    from tutelage.experiments.claims import declaration_page
    from tutelage.experiments.declaration import declared, recipe_file

    standing = declared(check.recipe)
    folder = _docs(docs, recipe_file(check.recipe).parent)
    if folder is None:
        raise SettingsError("a declaration needs a folder to be written to", got="no docs folder in a git work tree", fix="--docs DIR")
    which = check.name.removeprefix(check.recipe.name).removeprefix("-")
    page = folder / "experiments" / f"reproduce-{check.name}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(declaration_page(check.name, check.recipe.name, check.experiment, seal=standing.seal, which=which), encoding="utf-8")
    state = f"not declared yet: {standing.problem}" if standing.problem else f"declared in commit {standing.commit[:10]}"
    print(f"{page}\n{check.name}: {state}", file=sys.stderr)
    return {"name": check.name, "page": str(page), "seal": standing.seal, "commit": standing.commit, "problem": standing.problem}


def _run(check: Any, docs: Path | None, out: Path | None, jobs: int | None, *, quiet: bool) -> dict[str, Any]:
    from tutelage.cli.progress import watching
    from tutelage.experiments.declaration import recipe_file
    from tutelage.experiments.reproduce import reproduce as run_check
    from tutelage.experiments.reproduce import write_record

    if not quiet:
        arms, seeds = ", ".join(check.request.arms), ", ".join(map(str, check.request.seeds))
        print(f"{check.name} on {check.request.task.name}: arms {arms}; seeds {seeds}{' (tuning)' if check.tune else ''}", flush=True)
    with watching(check.request, quiet=quiet) as watch:
        done = run_check(check, out=out, jobs=jobs, command=shlex.join(["tutelage", *sys.argv[1:]]), watch=watch)
    folder = _docs(docs, recipe_file(check.recipe).parent)
    written = None
    problems = list(done.problems)
    if not problems and folder is None:
        problems.append("no docs folder in a git work tree to write it to (--docs DIR)")
    if not problems and folder is not None:
        written = write_record(done, folder / "records")
    if not quiet:
        _print(done, written, problems)
    return {**done.record, "problems": problems, "record": None if written is None else str(written), "folder": str(done.outcome.folder)}


def _print(done: Any, written: Path | None, problems: list[str]) -> None:
    from tutelage.experiments.claims import sentence

    for j in done.judged:
        print(f"\n{j.contrast.claim}\n  {j.verdict}: {sentence(j)}")
    print(f"\nReport: {done.outcome.folder / 'report.html'}")
    if written is not None:
        print(f"Record: {written}")
    for problem in problems:
        print(f"not recorded: {problem}")
