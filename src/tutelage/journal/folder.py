"""The run folder: append-only events and whole files of records, so that nothing half-written is ever read.

run.json                               what was asked for; the run's identity
seeds/<seed>/<arm>/events.jsonl        one JSON object a line, `event` names its kind
seeds/<seed>/<arm>/records/<name>.jsonl  records as `tutelage.records.encode` writes them
fits/<key>/                            weights trained here, with fit.json
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import StorageError, TutelageError
from tutelage.records import Record, decode, encode


def write_whole(path: Path, body: bytes) -> None:
    """Write `body` so that a reader, or the next run after a kill, sees the old file or the new one and nothing between."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as problem:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise storage_error(path, problem) from problem


def storage_error(path: Path, problem: OSError) -> StorageError:
    """The operating system's refusal in words, with the way out."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError(
            f"no space left while writing {path}", got=problem.strerror, fix="free some space and run the same command again: it continues"
        )
    return StorageError(
        f"{path} cannot be written",
        got=problem.strerror or str(problem),
        fix="check the folder's permissions, then run the same command again",
    )


def read_run_file(folder: Path, *needed: str) -> dict[str, Any] | None:
    """run.json of a run folder, which must hold the names `needed`. None where there is no such file."""
    file = folder / "run.json"
    if not file.exists():
        return None
    try:
        found = dict(orjson.loads(file.read_bytes()))
        for name in needed:
            found[name]
    except (OSError, ValueError, KeyError, TypeError) as broken:
        raise StorageError(
            f"{file} is damaged",
            got=str(broken),
            fix="run the same command into another --out folder: what was answered is kept in the call cache",
        ) from broken
    return found


def read_fit(record: Path) -> dict[str, Any]:
    """What fit.json says of finished training; it stands beside the weights and must hold at least their digest."""
    try:
        summary = orjson.loads(record.read_bytes())
        summary["digest"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as broken:
        raise StorageError(
            f"{record} is damaged", got=str(broken), fix=f"remove the folder {record.parent} and run the same command again"
        ) from broken
    return summary


class ArmJournal:
    """Events and records of one arm under one seed. A second attempt appends after a `start` event; readers use the last attempt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._events = folder / "events.jsonl"

    def start(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise storage_error(self.folder, problem) from problem
        _sweep(self.folder)
        self.event("start", at_s=round(time.time(), 3))

    def event(self, kind: str, **body: Any) -> None:
        """Append one event. A line is written by one call, so a kill leaves at most one torn last line, which readers skip."""
        line = orjson.dumps({"event": kind, **body}, option=orjson.OPT_APPEND_NEWLINE)
        try:
            with open(self._events, "ab") as file:
                # A torn last line of a killed attempt must not swallow this one.
                if file.tell() and not _ends_in_newline(self._events):
                    file.write(b"\n")
                file.write(line)
        except OSError as problem:
            raise storage_error(self._events, problem) from problem

    def keep(self, name: str, records: Sequence[Record]) -> None:
        body = b"".join(encode(r) + b"\n" for r in records)
        write_whole(self.folder / "records" / f"{name}.jsonl", body)
        kind = type(records[0]).__name__ if records else ""
        self.event("keep", name=name, type=kind, count=len(records))

    def events(self) -> list[dict[str, Any]]:
        """Events of the last attempt."""
        rows = list(read_lines(self._events))
        starts = [i for i, row in enumerate(rows) if row.get("event") == "start"]
        return rows[starts[-1] :] if starts else rows

    def done(self) -> bool:
        """Whether the last attempt came to its end.

        A refusal by a quality gate is an end too, unless requests had stayed unanswered: asked again, they may be answered now.
        """
        seen = {row.get("event") for row in self.events()}
        return "done" in seen or ("refused" in seen and "unanswered" not in seen)

    def records(self, name: str) -> list[Record]:
        path = self.folder / "records" / f"{name}.jsonl"
        if not path.exists():
            return []
        return [_decoded(line, number, path) for number, line in enumerate(path.read_bytes().splitlines(), start=1)]


def _sweep(folder: Path) -> None:
    """Remove what `write_whole` left of a process that was killed; a living one may still be writing."""
    for part in folder.rglob(".*.part"):
        number = part.name.split(".")[-2]
        with contextlib.suppress(OSError):
            if number.isdigit() and not lives(int(number)):
                part.unlink()


def lives(process: int) -> bool:
    """Whether a process of this number is there, whoever owns it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def read_lines(path: Path) -> Iterable[dict[str, Any]]:
    """The JSON objects of a file of lines; torn lines (a kill in mid-write) are skipped."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict):
            yield row


def _decoded(line: bytes, number: int, path: Path) -> Record:
    try:
        return decode(line)
    except TutelageError as broken:
        raise StorageError(
            f"line {number} of {path} is damaged: {broken.message}",
            got=broken.got,
            fix="run again into another --out folder: what was answered is kept in the call cache",
        ) from broken


def _ends_in_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
