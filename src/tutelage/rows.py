"""Rows out of a user's file: JSONL, a JSON list, CSV/TSV or Parquet, one at a time, every row that cannot be read named by its line.

A `BadRow` is data: the caller counts them and decides when there are too many. What makes the whole file unreadable (no such file,
UTF-16, a Parquet file cut short) is a `DataError`.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import DataError

MAX_ROW_BYTES = 8 * 2**20
"""A longer line is refused: it is a whole file without line breaks, or a runaway generation."""

SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}

_WIDE_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One readable row. `line` is where it starts in the file, counted from 1; in Parquet and JSON lists the number of the row."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """One row that cannot be used, why, and what would fix it."""

    line: int
    problem: str
    fix: str = ""

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}" + (f" ({self.fix})" if self.fix else "")


def file_format(path: Path | str) -> str:
    """`jsonl`, `json`, `csv` or `parquet`, by the file's suffix."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"file '{path}' has an unknown suffix", got=suffix or "none", fix=f"use one of {', '.join(sorted(SUFFIXES))}")
    return SUFFIXES[suffix]


def read_rows(path: Path | str, *, max_row_bytes: int = MAX_ROW_BYTES) -> Iterator[Row | BadRow]:
    """The rows of the file, in order; memory holds one row (one batch in Parquet, the whole of a JSON list)."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"no such file: {path}", got=str(path), fix="check the spelling; relative paths start at the current folder")
    if path.is_dir():
        raise DataError(f"'{path}' is a folder, not a file", got=str(path), fix="name a JSONL, CSV or Parquet file inside it")
    kind = file_format(path)
    if kind == "parquet":
        yield from _parquet(path)
        return
    _refuse_wide(path)
    if kind == "csv":
        yield from _csv(path, max_row_bytes)
    elif kind == "json" and _begins_list(path):
        yield from _json_list(path)
    else:
        yield from _jsonl(path, max_row_bytes)


def whole(values: dict[str, Any]) -> str | None:
    """The first place in a row that holds NaN or infinity, which JSON does not know; None where there is none."""
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            return name
    return None


def _refuse_wide(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
        for mark, name in sorted(_WIDE_BOMS.items(), key=lambda item: -len(item[0])):
            if head.startswith(mark):
                raise DataError(f"file '{path}' is written in {name}", got=head[:4].hex(" "), fix="save it as UTF-8 and try again")
        if len(head) >= 4 and head[1] == 0 and head[3] == 0:
            raise DataError(f"file '{path}' looks like UTF-16 without a mark", got=head.hex(" "), fix="save it as UTF-8 and try again")


def _begins_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _not_utf8(raw: bytes, broken: UnicodeDecodeError) -> str:
    sample = raw[max(0, broken.start - 10) : broken.start + 10].decode("cp1252", "replace")
    return f"byte {broken.start + 1} is not UTF-8; read as Windows-1252 it says '{sample}'"


def _jsonl(path: Path, limit: int) -> Iterator[Row | BadRow]:
    with path.open("rb") as file:
        line = 0
        while raw := file.readline(limit + 1):
            line += 1
            if len(raw) > limit:
                size = len(raw)
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(limit)
                    size += len(raw)
                yield BadRow(
                    line=line,
                    problem=f"the line has {size / 2**20:.1f} MB, more than {limit / 2**20:.0f} MB",
                    fix="one JSON object per line",
                )
                continue
            if line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if raw.strip():
                yield _json_row(line, raw)


def _json_row(line: int, raw: bytes) -> Row | BadRow:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as broken:
        return BadRow(line=line, problem=_not_utf8(raw, broken), fix="save the whole file as UTF-8")
    if "\x00" in text:
        return BadRow(line=line, problem="the line holds a NUL byte", fix="the file is damaged or not text")
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as broken:
        return BadRow(line=line, problem=_why_not_json(text, str(broken)), fix=_fix_json(text))
    if isinstance(values, str):
        return BadRow(
            line=line, problem="a JSON string, not an object", fix="the row was encoded twice; decode it once more before writing"
        )
    if not isinstance(values, dict):
        return BadRow(
            line=line, problem=f"a JSON {_kind_of(values)}, not an object", fix='rows look like {"question": "...", "answer": "..."}'
        )
    return Row(line=line, values=values)


def _kind_of(value: Any) -> str:
    return {list: "list", bool: "boolean", int: "number", float: "number", type(None): "null"}.get(type(value), type(value).__name__)


def _why_not_json(text: str, said: str) -> str:
    constants: list[str] = []

    def noted(constant: str) -> None:
        constants.append(constant)

    try:
        json.loads(text, parse_constant=noted)
    except (ValueError, RecursionError):
        return f"not JSON: {said}"
    return f"{constants[0]} is not a JSON value" if constants else f"not JSON: {said}"


def _fix_json(text: str) -> str:
    stripped = text.strip()
    if "NaN" in stripped or "Infinity" in stripped:
        return "write null, or leave the row out"
    if stripped.startswith("{'"):
        return "JSON needs double quotes; this looks like a printed Python dict"
    if stripped in ("{", "[", "}", "]") or not stripped.endswith("}"):
        return "one complete object per line; the file may be pretty-printed or cut short"
    return "one JSON object per line"


def _json_list(path: Path) -> Iterator[Row | BadRow]:
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        rows = orjson.loads(raw)
    except orjson.JSONDecodeError as broken:
        raise DataError(
            f"file '{path}' is not a JSON list: {broken}", got=str(path), fix="repair it, or write one object per line as .jsonl"
        ) from broken
    for number, values in enumerate(rows, start=1):
        if isinstance(values, dict):
            yield Row(line=number, values=values)
        else:
            yield BadRow(line=number, problem=f"a JSON {_kind_of(values)}, not an object", fix="every entry of the list must be an object")


def _decoded_lines(path: Path) -> Iterator[str]:
    """Physical lines; bytes that are not UTF-8 survive as surrogates, so that the row they stand in can be named."""
    with path.open("r", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield from file


def _csv(path: Path, limit: int) -> Iterator[Row | BadRow]:
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    with path.open("r", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        delimiter = _delimiter(file.readline(), path)
    reader = csv.reader(_decoded_lines(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as broken:
            why = "a quoted field is never closed" if "unexpected end" in str(broken) else str(broken)
            yield BadRow(line=start, problem=why, fix='double every quote inside a field ("") and close the field with one')
            start = reader.line_num + 1
            continue
        line, start = start, reader.line_num + 1
        if not fields or all(not field.strip() for field in fields):
            continue
        if header is None:
            header = [name.strip() for name in fields]
            _check_header(header, path)
            continue
        yield _csv_row(line, header, fields, limit)


def _delimiter(first: str, path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    counts = {mark: first.count(mark) for mark in (",", ";", "\t")}
    return max(counts, key=lambda mark: counts[mark]) if any(counts.values()) else ","


def _check_header(header: list[str], path: Path) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(
            f"file '{path}' has two columns of one name", got=", ".join(map(repr, twice)), fix="rename one of them in the first line"
        )


def _csv_row(line: int, header: list[str], fields: list[str], limit: int) -> Row | BadRow:
    joined = "".join(fields)
    if len(joined) > limit:
        return BadRow(
            line=line, problem=f"the row has {len(joined) / 2**20:.1f} MB, more than {limit / 2**20:.0f} MB", fix="is a quote missing?"
        )
    broken = next((c for c in joined if "\udc80" <= c <= "\udcff"), None)
    if broken is not None:
        byte = ord(broken) - 0xDC00
        read = bytes([byte]).decode("cp1252", "replace")
        return BadRow(
            line=line, problem=f"byte 0x{byte:02x} is not UTF-8; in Windows-1252 it is '{read}'", fix="save the whole file as UTF-8"
        )
    if "\x00" in joined:
        return BadRow(line=line, problem="the row holds a NUL byte", fix="the file is damaged or not text")
    if len(fields) != len(header):
        return BadRow(
            line=line,
            problem=f"{len(fields)} fields under {len(header)} columns",
            fix="quote fields that hold the delimiter or a line break",
        )
    return Row(line=line, values=dict(zip(header, fields, strict=True)))


def _parquet(path: Path) -> Iterator[Row | BadRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(line=number, values=values)
    except (pa.ArrowException, OSError) as broken:
        said = str(broken).splitlines()[0]
        raise DataError(
            f"Parquet file '{path}' cannot be read: {said}", got=str(path), fix="it is cut short or damaged; copy or export it again"
        ) from broken
