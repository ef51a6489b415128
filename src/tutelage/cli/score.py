"""`tutelage score`: a reward model on a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tutelage.cli.options import Json, print_json
from tutelage.errors import SettingsError, StorageError


def score(
    file: Annotated[Path, typer.Argument(help="Preferences, or prompts with replies, in any shape that `validate` knows.")],
    model: Annotated[str, typer.Option("--model", help="Folder of a reward model, or hf:ID.")],
    shape: Annotated[str | None, typer.Option("--as", help="Shape of the file; told from the columns by default.")] = None,
    critiques: Annotated[
        int, typer.Option("--critiques", help="Of a model that writes: critiques to average over; one is written greedily.", min=1)
    ] = 1,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="Longest critique; 512 by default.", min=1)] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="Of several critiques.")] = 0.7,
    seed: Annotated[int, typer.Option("--seed", help="Of several critiques.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", help="Only the first rows.", min=1)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSONL with the reward of every row, in the order of the file.")] = None,
    as_json: Json = False,
) -> None:
    """Rate replies with a reward model: pair accuracy with its interval for preferences, a reward per row for replies."""
    from tutelage.experiments.scoring import CRITIQUE_TOKENS, score_file

    if out is not None and out.exists() and out.resolve() == file.resolve():
        raise SettingsError("the rewards would replace the file that is scored", got=str(out), fix="name another file with --out")
    if out is not None:
        _writable(out)
    if temperature <= 0 and critiques > 1:
        raise SettingsError("several critiques at temperature 0 are all the same", got=f"--critiques {critiques}", fix="set --temperature")
    shown = sys.stderr.isatty() and not as_json
    found = score_file(
        model, file, shape=shape, critiques=critiques, max_tokens=max_tokens or CRITIQUE_TOKENS, temperature=temperature, seed=seed,
        limit=limit, progress=_progress if shown else None,
    )  # fmt: skip
    if out is not None:
        _write(out, found.rows)
    summary = found.summary() | ({} if out is None else {"out": str(out)})
    if as_json:
        print_json(summary if out is not None else {**summary, "rewards": found.rows})
        return
    print(f"{file}: {len(found.rows):,} rows, {found.shape}")
    if found.unrated:
        print(f"  {found.unrated:,} not rated: longer than the model's context")
    if found.accuracy is not None and found.accuracy.value is not None:
        a = found.accuracy
        print(f"  pair accuracy {a.value:.1%} [{a.low:.1%}, {a.high:.1%}] of {found.pairs:,} pairs, {found.ties:,} ties counted half")
    elif "mean_reward" in summary:
        print(f"  reward {summary['mean_reward']:.4g} on average, {summary['min']:.4g} to {summary['max']:.4g}")
    if out is None:
        for row in found.rows[:10]:
            print("  " + "  ".join(f"{name} {_said(value)}" for name, value in row.items() if not name.endswith("critiques")))
        if len(found.rows) > 10:
            print(f"  ... {len(found.rows) - 10:,} more; --out FILE writes all of them")
    else:
        print(f"  written to {out}")


def _said(value: Any) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _progress(done: int, total: int) -> None:
    print(f"\r{done:,} of {total:,} replies rated", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _writable(out: Path) -> None:
    """Refused before anything is rated."""
    wrong = None
    if out.is_dir():
        wrong = "is a folder"
    elif out.exists() and not os.access(out, os.W_OK):
        wrong = "may not be replaced"
    else:
        above = next(p for p in out.absolute().parents if p.exists())
        if not above.is_dir():
            wrong = f"would lie in {above}, which is a file"
        elif not os.access(above, os.W_OK):
            wrong = f"would lie in {above}, where nothing may be written"
    if wrong is not None:
        raise SettingsError(f"the rewards cannot be written: the file {wrong}", got=str(out), fix="name another file with --out")


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    """All of it or nothing."""
    import orjson

    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        draft.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
        os.replace(draft, out)
    except OSError as error:
        fix = "free space or name another file with --out"
        raise StorageError("the rewards cannot be written", got=f"{out}: {error}", fix=fix) from error
    finally:
        draft.unlink(missing_ok=True)
