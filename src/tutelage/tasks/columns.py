"""From a user's rows to problems: columns mapped, every row that cannot be used named with its line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import DataError, did_you_mean
from tutelage.hashing import digest
from tutelage.records import Problem
from tutelage.rows import BadRow, Row
from tutelage.seeds import derive
from tutelage.tasks.splits import at
from tutelage.verify.choice import place_of

KINDS = ("reasoning", "classification", "preference")

MAX_NAMED = 10
"""So many lines are spelled out in an error; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column holds what. None: the data have no such column."""

    kind: str = "reasoning"
    question: str = "question"
    answer: str = "answer"
    skill: str | None = None
    split: str | None = None
    choices: str | None = None
    rationale: str | None = None
    chosen: str = "chosen"
    rejected: str = "rejected"
    id: str | None = None
    seed: int = 0
    """Of the order in which the two replies of a preference row are shown."""

    @property
    def required(self) -> tuple[str, ...]:
        wanted = (self.question, self.chosen, self.rejected) if self.kind == "preference" else (self.question, self.answer)
        optional = (self.skill, self.split, self.choices, self.rationale, self.id)
        return (*wanted, *(name for name in optional if name is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What came out of one source of rows."""

    problems: tuple[tuple[Problem, str | None], ...]
    """With the value of the split column, where there is one."""
    bad: tuple[BadRow, ...]
    rows: int
    """Rows seen, bad ones included."""
    columns: tuple[str, ...] = field(default=())


def map_rows(rows: Iterable[Row | BadRow], columns: Columns, *, path: Path, split: str = "") -> Mapped:
    """Problems in the order of the rows. A column that stands in no row is an error, one missing here and there makes bad rows."""
    problems: list[tuple[Problem, str | None]] = []
    bad: list[BadRow] = []
    seen: dict[str, None] = {}
    ids: dict[str, int] = {}
    count = 0
    for row in rows:
        count += 1
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        seen.update(dict.fromkeys(row.values))
        made = _problem(row, columns, path=path, split=split)
        if isinstance(made, Problem) and columns.id is not None:
            made = _first_of_its_id(made, row, columns.id, ids)
        if isinstance(made, BadRow):
            bad.append(made)
        else:
            problems.append((made, None if columns.split is None else str(row.values[columns.split]).strip()))
    if count == 0:
        raise DataError(f"file '{path}' has no rows", got=str(path), fix="it needs one row for every question")
    if seen:
        require_columns(tuple(seen), columns.required, path=path)
    return Mapped(problems=tuple(problems), bad=tuple(bad), rows=count, columns=tuple(seen))


def require_columns(present: tuple[str, ...], required: tuple[str, ...], *, path: Path) -> None:
    for name in required:
        if name not in present:
            raise DataError(
                f"file '{path}' has no column '{name}'",
                got=f"columns: {', '.join(present)}",
                fix=f"{did_you_mean(name, present)}\n       name the column that is meant, for example --task-set question={present[0]}",
            )


def stop_above(mapped: Iterable[Mapped], share: float, *, path: Path) -> None:
    """Raises where more than `share` of all rows cannot be used, naming the first lines."""
    results = list(mapped)
    bad = [row for one in results for row in one.bad]
    rows = sum(one.rows for one in results)
    if rows and len(bad) > share * rows:
        lines = "; ".join(str(row) for row in bad[:MAX_NAMED])
        more = f"; and {len(bad) - MAX_NAMED} more" if len(bad) > MAX_NAMED else ""
        raise DataError(
            f"file '{path}' has {len(bad)} unusable rows among {rows}, more than {share:.0%}",
            got=lines + more,
            fix="repair these lines, or raise max_malformed",
        )


def text_of(value: Any) -> str | None:
    """A cell as text: numbers and booleans written out; None where it holds nothing or no single value."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return None


def _problem(row: Row, columns: Columns, *, path: Path, split: str) -> Problem | BadRow:
    values = row.values
    wanted = columns.required
    cells: dict[str, str] = {}
    for name in wanted:
        if name not in values:
            return BadRow(line=row.line, problem=f"column '{name}' is missing", fix=f"columns here: {', '.join(map(str, values))[:200]}")
        if name == columns.choices:
            continue
        cell = text_of(values[name])
        if cell is None and name in (columns.skill, columns.rationale):
            cell = ""
        if cell is None:
            return BadRow(line=row.line, problem=f"column '{name}' holds {_called(values[name])}", fix="text or a number is needed")
        cells[name] = cell
    if columns.kind == "preference":
        return _preference(row, columns, cells, path=path, split=split)
    question, answer = cells[columns.question], cells[columns.answer]
    choices = () if columns.choices is None else _choices(values[columns.choices])
    if columns.choices is not None and len(choices) < 2:
        return BadRow(
            line=row.line, problem=f"column '{columns.choices}' lists {len(choices)} options", fix='write a list, "a|b|c", or one JSON list'
        )
    if choices:
        if place_of(answer, choices)[0] is None:
            return BadRow(
                line=row.line, problem=f"answer '{answer[:60]}' is not one of the options", fix="give the option's letter or its text"
            )
        question = with_options(question, choices)
    context = {"solution": cells[columns.rationale]} if columns.rationale is not None and cells[columns.rationale] else {}
    skill = cells[columns.skill] if columns.skill is not None else ""
    return Problem(text=question, answer=answer, skill=skill, choices=choices, context=context, origin=at(path, split, row.line))


def _preference(row: Row, columns: Columns, cells: Mapping[str, str], *, path: Path, split: str) -> Problem | BadRow:
    prompt, chosen, rejected = cells[columns.question], cells[columns.chosen], cells[columns.rejected]
    if chosen == rejected:
        return BadRow(line=row.line, problem="chosen and rejected are the same text", fix="such a row prefers nothing; leave it out")
    first_is_chosen = derive(columns.seed, "order", digest([prompt, chosen, rejected]).hex()) % 2 == 0
    replies = (chosen, rejected) if first_is_chosen else (rejected, chosen)
    text = f"{prompt}\n\nReply A:\n{replies[0]}\n\nReply B:\n{replies[1]}\n\nWhich reply is better, A or B?"
    return Problem(
        text=text,
        answer="A" if first_is_chosen else "B",
        skill=cells[columns.skill] if columns.skill is not None else "",
        choices=("A", "B"),
        context={"prompt": prompt, "chosen": chosen, "rejected": rejected},
        origin=at(path, split, row.line),
    )


def with_options(question: str, choices: tuple[str, ...]) -> str:
    """The question with its options listed by letter, unless it lists them itself."""
    if all(option in question for option in choices):
        return question
    return question + "\nOptions:\n" + "\n".join(f"({chr(ord('A') + i)}) {option}" for i, option in enumerate(choices))


def _choices(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = value.split("|")
    if isinstance(value, dict):  # {"text": [...], "label": [...]}, as several published sets write it
        value = value.get("text", list(value.values()))
    if not isinstance(value, list | tuple):
        return ()
    options = tuple(text_of(option) or "" for option in value)
    return options if all(options) and len(set(options)) == len(options) and len(options) <= 26 else ()


def _called(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else "infinity"
    if isinstance(value, str):
        return "an empty text"
    return {list: "a list", dict: "an object"}.get(type(value), f"a {type(value).__name__}")


def _first_of_its_id(problem: Problem, row: Row, column: str, ids: dict[str, int]) -> Problem | BadRow:
    name = text_of(row.values[column]) or ""
    first = ids.setdefault(name, row.line)
    if first != row.line:
        return BadRow(
            line=row.line, problem=f"id '{name[:60]}' again (first in line {first})", fix="ids must be unique; rename or remove one"
        )
    return problem
