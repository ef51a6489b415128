"""Stored answers as files that people and other tools read, and back.

One row per answer:

    key         hexadecimal digest of the question; the same on every machine
    model       name of the model as its user wrote it; not part of the question
    completion  the answer of a `generate`: {text, finish, prompt_tokens, completion_tokens, and where there is one: logprobs,
                reasoning, error}
    result      the answer of a `score`, {scored, prompt_tokens}, or of an `embed`, {vector}

and the question, which is everything else and hashes to `key`:

    format      version of this layout of questions
    kind        generate, score or embed
    model_id    id of the model
    prompt      list of [role, text] turns (generate, score)
    sampling    max_tokens, temperature, stop; top_p and seed where something was drawn; schema and logprobs where asked (generate)
    index       number of the sample among those of one prompt (generate)
    text        the sequence that was scored or embedded (score, embed)
    options     settings of the back end that could change an answer, where there were any

In Parquet the nested columns hold JSON texts, so that files of different kinds of calls have one schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import DataError, SettingsError, missing_extra
from tutelage.hashing import canonical, digest
from tutelage.journal.cache import CallCache
from tutelage.journal.folder import storage_error

_ROWS_AT_ONCE = 2_000
_NOT_QUESTION = ("key", "model", "completion", "result")
_TEXT_COLUMNS = ("key", "model", "kind", "model_id", "text")
_JSON_COLUMNS = ("prompt", "sampling", "options", "completion", "result")
_NUMBER_COLUMNS = ("format", "index")


def export_rows(cache: CallCache, *, model: str | None = None, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a cache, oldest first, as the module's head describes them."""
    for key, body, _ in cache.rows():
        row = orjson.loads(body)
        call, answer, name = row.get("call"), row.get("answer"), row.get("model", "?")
        if not isinstance(call, dict) or (model is not None and model != name) or (kind is not None and kind != call.get("kind")):
            continue
        yield {"key": key.hex(), "model": name, **call, _answer_name(call.get("kind")): answer}


def _answer_name(kind: object) -> str:
    return "completion" if kind == "generate" else "result"


def export_cache(cache: CallCache, path: Path | str, *, model: str | None = None, kind: str | None = None) -> int:
    """Write the rows to `path`, as JSONL or Parquet by its suffix. Returns how many. The file appears when it is complete."""
    target = Path(path)
    write = {".jsonl": _write_jsonl, ".parquet": _write_parquet}.get(target.suffix)
    if write is None:
        raise SettingsError("answers are exported to .jsonl or .parquet", got=target.name)
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        count = write(part, export_rows(cache, model=model, kind=kind))
        part.replace(target)
    except OSError as problem:
        raise storage_error(target, problem) from problem
    finally:
        part.unlink(missing_ok=True)
    return count


def import_cache(cache: CallCache, path: Path | str) -> tuple[int, int]:
    """Put an exported file's answers into a cache; answers that are there stay. Returns (rows that were new, rows that were there)."""
    before, read = len(cache), 0
    items: list[tuple[bytes, bytes]] = []
    for row in read_export(path):
        items.append((bytes.fromhex(row["key"]), _body(row)))
        read += 1
        if len(items) == _ROWS_AT_ONCE:
            cache.put_many(items)
            items = []
    cache.put_many(items)
    new = len(cache) - before
    return new, read - new


def read_export(path: Path | str) -> Iterator[dict[str, Any]]:
    """The rows of an exported file. A row that does not hash to its key, or is not one of ours, is refused with its number."""
    source = Path(path)
    rows = {".jsonl": _read_jsonl, ".parquet": _read_parquet}.get(source.suffix)
    if rows is None:
        raise SettingsError("exported answers are .jsonl or .parquet files", got=source.name)
    if not source.is_file():
        raise DataError("file of exported answers does not exist", got=str(source))
    for number, row in enumerate(rows(source), start=1):
        if not isinstance(row, dict) or not {"key", "kind", "model_id", _answer_name(row.get("kind"))} <= row.keys():
            raise DataError(
                f"row {number} of {source} is not an exported answer", got=str(row)[:120], fix="export it with `tutelage cache export`"
            )
        if digest(_call(row)).hex() != row["key"]:
            raise DataError(
                f"row {number} of {source} does not hash to its key", got=row["key"], fix="the file was edited; export it again"
            )
        yield row


def _call(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _NOT_QUESTION}


def _body(row: dict[str, Any]) -> bytes:
    answer = orjson.dumps(row[_answer_name(row["kind"])])
    return b'{"answer":' + answer + b',"call":' + canonical(_call(row)) + b',"model":' + orjson.dumps(row["model"]) + b"}"


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    with open(path, "wb") as file:
        for row in rows:
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count


def _read_jsonl(path: Path) -> Iterator[Any]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as problem:
                raise DataError(f"line {number} of {path} is not JSON", got=str(problem)) from problem


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise missing_extra("pyarrow", "data") from None
    texts_and_json = [(name, pa.string()) for name in _TEXT_COLUMNS + _JSON_COLUMNS]
    schema = pa.schema(texts_and_json + [(name, pa.int64()) for name in _NUMBER_COLUMNS])
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            texts = {name: orjson.dumps(row[name]).decode() for name in _JSON_COLUMNS if name in row}
            batch.append(row | texts)
            count += 1
            if len(batch) == _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    return count


def _read_parquet(path: Path) -> Iterator[Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise missing_extra("pyarrow", "data") from None
    try:
        file = pq.ParquetFile(path)
        if missing := {*_TEXT_COLUMNS, *_JSON_COLUMNS, *_NUMBER_COLUMNS} - set(file.schema_arrow.names):
            raise DataError(f"{path} is not a file of exported answers", got=f"no column {sorted(missing)[0]!r}")
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                present = {name: value for name, value in row.items() if value is not None}
                yield present | {name: orjson.loads(present[name]) for name in _JSON_COLUMNS if name in present}
    except (pa.ArrowInvalid, orjson.JSONDecodeError) as problem:
        raise DataError(f"{path} cannot be read as Parquet", got=str(problem)[:200]) from problem
