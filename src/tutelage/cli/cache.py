"""`tutelage cache`: what is remembered of the models' answers, and what may be forgotten."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tutelage.errors import DataError, SettingsError

cache_app = typer.Typer(no_args_is_help=True, help="The remembered answers of models: stats, verify, prune, export, import.")

File = Annotated[Path | None, typer.Option("--file", help="The cache; TUTELAGE_CACHE or runs/cache.sqlite by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
_DAY_S = 86_400


def _path(file: Path | None, *, new: bool = False) -> Path:
    path = file or Path(os.environ.get("TUTELAGE_CACHE", "runs/cache.sqlite"))
    if not new and not path.is_file():
        raise DataError("there is no call cache here", got=str(path), fix="name one with --file or in TUTELAGE_CACHE")
    return path


@cache_app.command()
def stats(file: File = None, as_json: Json = False) -> None:
    """How many answers there are, of which models and kinds, and how much space they take."""
    from dataclasses import asdict

    import orjson

    from tutelage.journal.cache import CallCache

    with CallCache(_path(file)) as cache:
        found = cache.stats()
    if as_json:
        print(orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2).decode())
        return
    print(f"{found.path}: {found.rows:,} answers, {found.errors:,} of them failures kept as data")
    print(f"{found.file_bytes / 1e6:,.1f} MB on disk; bodies {found.body_bytes / 1e6:,.1f} MB, {found.plain_bytes / 1e6:,.1f} MB unpacked")
    for title, table in (("by model", found.by_model), ("by kind", found.by_kind)):
        print(f"{title}:")
        for name, count in sorted(table.items(), key=lambda item: -item[1]):
            print(f"  {count:>12,}  {name}")


@cache_app.command()
def verify(file: File = None) -> None:
    """Read every row and check that it stands under its own key. Exit 1 if not."""
    from tutelage.journal.cache import CallCache

    with CallCache(_path(file)) as cache:
        found, rows = cache.verify(), len(cache)
    for line in found:
        print(line)
    print(f"{rows:,} answers, {len(found):,} findings")
    if found:
        raise typer.Exit(1)


@cache_app.command()
def prune(
    file: File = None,
    model: Annotated[str | None, typer.Option("--model", help="Answers of this model, as it was named in the run.")] = None,
    older_than: Annotated[float | None, typer.Option("--older-than", help="Answers older than so many days.", min=0)] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Failures kept as data: the next run asks again.")] = False,
    broken: Annotated[bool, typer.Option("--broken", help="Rows that cannot be read.")] = False,
) -> None:
    """Forget the answers that fulfil every condition given. They would have to be paid again."""
    from tutelage.journal.cache import CallCache

    if model is None and older_than is None and not errors and not broken:
        raise SettingsError("prune needs a condition", fix="--model, --older-than, --errors or --broken; to forget all, delete the file")
    with CallCache(_path(file)) as cache:
        gone = cache.prune(model=model, older_than_s=None if older_than is None else older_than * _DAY_S, errors=errors, broken=broken)
        print(f"{gone:,} answers forgotten, {len(cache):,} left")


@cache_app.command("export")
def export_answers(
    to: Annotated[Path, typer.Argument(help="A .jsonl or .parquet file.")],
    file: File = None,
    model: Annotated[str | None, typer.Option("--model", help="Of this model only.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="generate, score or embed only.")] = None,
) -> None:
    """Write answers to a file, which `cache import` and `recorded:FILE` read."""
    from tutelage.journal.cache import CallCache
    from tutelage.journal.export import export_cache

    with CallCache(_path(file)) as cache:
        print(f"{export_cache(cache, to, model=model, kind=kind):,} answers in {to}")


@cache_app.command("import")
def import_answers(source: Annotated[Path, typer.Argument(help="A file that `cache export` wrote.")], file: File = None) -> None:
    """Put exported answers into the cache; answers that are there stay."""
    from tutelage.journal.cache import CallCache
    from tutelage.journal.export import import_cache

    with CallCache(_path(file, new=True)) as cache:
        read, new = import_cache(cache, source)
    print(f"{read:,} answers read, {new:,} of them new")
