"""Reading, writing, converting and checking data files in the shapes of `shapes`, as JSONL, JSON or Parquet."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import DataError, SettingsError, did_you_mean, missing_extra
from tutelage.formats.cells import Content, Unfit
from tutelage.formats.shapes import SHAPES, Shape, is_plain, recognise
from tutelage.records import Problem
from tutelage.rows import BadRow, Row, file_format, read_rows

NAMED = 10
"""So many lines are spelled out in an error."""
LISTED = 1000
"""So many problems a validation lists; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What is wrong in a file, row by row, and what would fix it."""

    path: str
    shape: str | None
    """The shape that the columns show; None where they fit none."""
    rows: int
    good: int
    problems: tuple[BadRow, ...] = field(repr=False)
    """The first thousand rows that cannot be used."""
    counts: tuple[tuple[str, int], ...] = ()
    """How often each kind of problem occurs, commonest first."""
    notes: tuple[str, ...] = ()
    """What is no error but worth knowing: repeated rows, repeated ids, how lines end."""

    @property
    def ok(self) -> bool:
        return self.shape is not None and self.rows > 0 and self.good == self.rows


def read(path: Path | str, *, shape: str | None = None) -> tuple[list[Content], str]:
    """All records of the file and the shape it has. One row that cannot be used stops it, named with its line: nothing is half read."""
    path = Path(path)
    found = _shape_of(path, shape)
    records: list[Content] = []
    bad: list[BadRow] = []
    for row in read_rows(path):
        made = _record(row, found)
        if isinstance(made, BadRow):
            bad.append(made)
        else:
            records.append(made)
    if bad:
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise DataError(
            f"file '{path}' has {len(bad)} rows that are not {found.name}",
            got="; ".join(map(str, bad[:NAMED])) + more,
            fix="`tutelage validate` lists every row with what would fix it",
        )
    if not records:
        raise DataError(f"file '{path}' has no rows", got=str(path))
    return records, found.name


def write(path: Path | str, records: Sequence[Content], *, shape: str, chat: bool | None = None) -> None:
    """Writes the records, reads them back, and only then puts the file in its place: what cannot be held is refused, not dropped.

    `chat` writes prompts as conversations (True) or texts (False); left open, texts where every prompt is one user turn.
    """
    path = Path(path)
    target = _named(shape)
    kind = file_format(path)
    if kind == "csv":
        raise SettingsError("data are not written as CSV, which has no types and no lists", got=str(path), fix="use .jsonl or .parquet")
    plain = all(is_plain(record.prompt) for record in records if not isinstance(record, Problem))
    if chat is False and not plain:
        raise DataError("prompts with several turns cannot be written as texts", got=str(path), fix="leave chat open, or set it")
    rows = _rows(records, target, chat=not plain if chat is None else chat)
    # The suffix says how a file is read, so the draft keeps it.
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        _write_rows(draft, rows, kind)
        back = [_back(row, target) for row in read_rows(draft)] if rows else []
        _refuse_loss(records, back, target, path)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def convert(
    source: Path | str, target: Path | str, *, to: str | None = None, shape: str | None = None, chat: bool | None = None
) -> tuple[str, str, int]:
    """Rewrites a file in another shape or container. Returns the shapes of both and the number of rows. Lossy conversions are refused."""
    if Path(source).resolve() == Path(target).resolve():
        raise SettingsError("source and target are the same file", got=str(target), fix="name another target")
    records, found = read(source, shape=shape)
    write(target, records, shape=to or found, chat=chat)
    return found, to or found, len(records)


def validate(path: Path | str, *, shape: str | None = None) -> Validation:
    """Looks at every row; raises only where the file as a whole cannot be read."""
    path = Path(path)
    found = _recognised(path) if shape is None else _named(shape)
    rows = good = 0
    problems: list[BadRow] = []
    kinds: Counter[str] = Counter()
    first_line: dict[str, int] = {}
    ids: dict[str, int] = {}
    types: dict[str, tuple[str, int]] = {}
    repeats: list[int] = []
    for row in read_rows(path):
        rows += 1
        made = _record(row, found) if found is not None else _unknown(row)
        if isinstance(row, Row) and not isinstance(made, BadRow):
            made = _mixed(row, types) or _repeated_id(row, ids) or made
        if isinstance(made, BadRow):
            kinds[_kind(made.problem)] += 1
            if len(problems) < LISTED:
                problems.append(made)
            continue
        good += 1
        if first_line.setdefault(made.id, row.line) != row.line:
            repeats.append(row.line)
    notes = []
    if repeats:
        shown = ", ".join(map(str, repeats[:NAMED]))
        notes.append(f"{len(repeats)} rows repeat an earlier row: lines {shown}{' and more' if len(repeats) > NAMED else ''}")
    notes += _file_notes(path)
    return Validation(
        path=str(path), shape=found.name if found else None, rows=rows, good=good, problems=tuple(problems),
        counts=tuple(kinds.most_common()), notes=tuple(notes),
    )  # fmt: skip


def _named(shape: str) -> Shape:
    if shape not in SHAPES:
        raise SettingsError(f"no data format is called '{shape}'", got=shape, fix=did_you_mean(shape, SHAPES))
    return SHAPES[shape]


def _recognised(path: Path) -> Shape | None:
    columns: dict[str, None] = {}
    for count, row in enumerate(read_rows(path)):
        if isinstance(row, Row):
            columns.update(dict.fromkeys(row.values))
        if count >= 50:
            break
    return recognise(tuple(columns))


def _shape_of(path: Path, shape: str | None) -> Shape:
    if shape is not None:
        return _named(shape)
    found = _recognised(path)
    if found is None:
        first = next((row for row in read_rows(path) if isinstance(row, Row)), None)
        known = "; ".join(f"{s.name}: {', '.join(s.required)}" for s in SHAPES.values())
        raise DataError(
            f"the columns of '{path}' fit no known format",
            got=", ".join(first.values) if first else "no readable row",
            fix=f"rename them. Known are {known}",
        )
    return found


def _record(row: Row | BadRow, shape: Shape) -> Content | BadRow:
    if isinstance(row, BadRow):
        return row
    missing = [name for name in shape.required if name not in row.values]
    if missing:
        return BadRow(line=row.line, problem=f"column '{missing[0]}' is missing", fix=f"'{shape.name}' needs {', '.join(shape.required)}")
    try:
        return shape.read(row.values)
    except Unfit as unfit:
        return BadRow(line=row.line, problem=unfit.problem, fix=unfit.fix)


def _unknown(row: Row | BadRow) -> BadRow:
    if isinstance(row, BadRow):
        return row
    known = sorted({column for shape in SHAPES.values() for column in shape.required})
    hints = (did_you_mean(name, known) for name in row.values if name not in known)
    hint = next((h for h in hints if h.startswith("did you mean")), "rename them; `tutelage validate --help` lists the formats")
    return BadRow(line=row.line, problem=f"columns {', '.join(row.values)} fit no known format", fix=hint)


def _mixed(row: Row, types: dict[str, tuple[str, int]]) -> BadRow | None:
    """A column that is text in one row and a list in another loads in no table library."""
    for name, value in row.values.items():
        kind = "list" if isinstance(value, list) else "object" if isinstance(value, dict) else "value"
        if value is not None and types.setdefault(name, (kind, row.line))[0] != kind:
            problem = f"'{name}' is a {kind} here and a {types[name][0]} in line {types[name][1]}"
            return BadRow(line=row.line, problem=problem, fix="write one kind only")
    return None


def _repeated_id(row: Row, ids: dict[str, int]) -> BadRow | None:
    if "id" not in row.values or row.values["id"] is None:
        return None
    name = orjson.dumps(row.values["id"]).decode()
    first = ids.setdefault(name, row.line)
    return (
        None
        if first == row.line
        else BadRow(line=row.line, problem=f"id {name[:60]} again (first in line {first})", fix="ids must be unique")
    )


def _kind(problem: str) -> str:
    """The problem without the values of this row, for counting."""
    return problem.split(" (first in line")[0] if not problem.startswith("id ") else "an id stands twice"


def _file_notes(path: Path) -> list[str]:
    if file_format(path) == "parquet":
        return []
    with path.open("rb") as file:
        head = file.read(65536)
    notes = []
    if head.startswith(b"\xef\xbb\xbf"):
        notes.append("the file begins with a byte-order mark; it is read all the same, but other tools may trip over it")
    if b"\r\n" in head:
        notes.append("lines end with CR LF, as on Windows; they are read all the same")
    return notes


def _rows(records: Sequence[Content], target: Shape, *, chat: bool) -> list[dict[str, Any]]:
    rows, refused = [], []
    for number, record in enumerate(records, start=1):
        try:
            rows.append(target.write(record, chat))
        except Unfit as unfit:
            refused.append(BadRow(line=number, problem=unfit.problem, fix=unfit.fix))
    if refused:
        raise DataError(
            f"{len(refused)} of {len(records)} records cannot be written as '{target.name}' ({target.holds}) without loss",
            got="; ".join(map(str, refused[:NAMED])),
            fix=refused[0].fix or "choose another format",
        )
    return rows


def _write_rows(path: Path, rows: Sequence[dict[str, Any]], kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        _write_parquet(path, rows)
        return
    try:
        lines = [orjson.dumps(row) for row in rows]
    except (orjson.JSONEncodeError, TypeError) as broken:
        raise DataError(f"a record holds something that JSON cannot: {broken}", got=str(path)) from broken
    path.write_bytes(b"[" + b",\n".join(lines) + b"]\n" if kind == "json" else b"".join(line + b"\n" for line in lines))


def _write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as missing:
        raise missing_extra("pyarrow", "data") from missing
    columns = list(dict.fromkeys(name for row in rows for name in row))
    try:
        pq.write_table(pa.table({name: pa.array([row.get(name) for row in rows]) for name in columns}), path)
    except (pa.ArrowException, OverflowError, TypeError) as broken:
        raise DataError(
            f"the records do not fit into a table: {broken}", got=str(path), fix="write .jsonl, or make each column one type"
        ) from broken


def _back(row: Row | BadRow, shape: Shape) -> Content | BadRow:
    return _record(row, shape)


def _refuse_loss(records: Sequence[Content], back: Iterable[Content | BadRow], target: Shape, path: Path) -> None:
    returned = list(back)
    for number, (record, again) in enumerate(zip(records, returned, strict=False), start=1):
        if isinstance(again, BadRow) or again.id != record.id:
            why = again.problem if isinstance(again, BadRow) else "it reads back as another record"
            raise DataError(
                f"record {number} would not survive in '{path.suffix}' as '{target.name}'", got=why, fix="choose another format, or .jsonl"
            )
    if len(returned) != len(records):
        raise DataError(f"'{path}' would hold {len(returned)} rows instead of {len(records)}", got=str(path))
