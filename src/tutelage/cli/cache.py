"""The verbs on the call cache: what is there, whether it is whole, what may go, and how it moves to another workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tutelage.cli.options import Json, print_json
from tutelage.errors import SettingsError

cache = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The answers that were paid for: what is there, export, import.")


@cache.command("stats")
def cache_stats(as_json: Json = False) -> None:
    """How many answers, of which models, how large."""
    from dataclasses import asdict

    with _open_cache() as held:
        found = asdict(held.stats())
    if as_json:
        print_json(found)
    else:
        size = f"{found['file_bytes'] / 2**20:,.1f} MiB on disk"
        print(f"{found['path']}: {found['rows']:,} answers, {found['errors']:,} of them failures, {size}")
        for heading, counts in (("by model", found["by_model"]), ("by kind of call", found["by_kind"])):
            if counts:
                print(f"{heading}:")
                print("\n".join(f"  {count:>9,}  {what}" for what, count in sorted(counts.items(), key=lambda x: -x[1])))


@cache.command("verify")
def cache_verify() -> None:
    """Whether every row is readable and hashes to its own key."""
    with _open_cache() as held:
        findings = held.verify()
    print("\n".join(findings) or "every row is readable and hashes to its own key")
    if findings:
        raise typer.Exit(1)


@cache.command("prune")
def cache_prune(
    model: Annotated[str | None, typer.Option("--model", help="Answers of this model name only.")] = None,
    older_than_days: Annotated[float | None, typer.Option("--older-than-days", min=0)] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Rows that hold a failure, so that the next run asks again.")] = False,
    broken: Annotated[bool, typer.Option("--broken", help="Rows that cannot be read.")] = False,
) -> None:
    """Delete the answers that fulfil every condition given."""
    if model is None and older_than_days is None and not errors and not broken:
        raise SettingsError(
            "cache prune needs a condition", fix="--model, --older-than-days, --errors or --broken; to drop all, delete the file"
        )
    with _open_cache() as held:
        seconds = None if older_than_days is None else older_than_days * 86_400
        print(f"{held.prune(model=model, older_than_s=seconds, errors=errors, broken=broken):,} answers deleted")


@cache.command("export", short_help="Write the answers as JSONL or Parquet.")
def cache_export(
    file: Path,
    model: Annotated[str | None, typer.Option("--model", help="Answers of this model name only.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="generate, score or embed.")] = None,
) -> None:
    """Write the answers as JSONL or Parquet; `recorded:FILE` plays them back with the network off."""
    from tutelage.journal.export import export_cache

    with _open_cache() as held:
        print(f"{file}: {export_cache(held, file, model=model, kind=kind):,} answers")


@cache.command("import", short_help="Take in answers that another workspace exported.")
def cache_import(file: Path) -> None:
    """Take in answers that another workspace exported; what is there already stays."""
    from tutelage.journal.export import import_cache

    with _open_cache() as held:
        new, known = import_cache(held, file)
    print(f"{new:,} answers taken in, {known:,} were there already")


def _open_cache() -> Any:
    from tutelage.experiments.run import cache_path
    from tutelage.journal.cache import CallCache

    return CallCache(cache_path())
