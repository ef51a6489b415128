"""The call cache: every answer of every model under a key that names all that could change it.

One SQLite file per workspace, in WAL mode with full synchronisation: what `put_many` took is on the disk when it returns, also after a
power cut, and several processes may read and write at once. The first answer under a key stays: a later one is ignored, so that a
replay sees what the first run saw.
"""

from __future__ import annotations

import sqlite3
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import InternalError, StorageError
from tutelage.hashing import DIGEST_BYTES, digest
from tutelage.journal.database import Database, use_wal

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x7475_7465
"""Marks the file as ours in its header ("tute"), so that another program's database is refused and never written to."""
_ZLIB_LEVEL = 1
"""Level 6 saves a further tenth of the space and costs three times the CPU of one call."""
_SMALL_BYTES = 512
"""Up to here a body is stored, not packed (both are zlib streams with a checksum): packing would save a third of it, and each row would let
the interpreter's lock go, for which the threads of a busy endpoint then queue."""
_ROWS_PER_INSERT = 128
_KEYS_PER_QUERY = 500
"""SQLite's oldest limit on variables is 999."""
_ELSEWHERE = "move it to another place and name that in TUTELAGE_CACHE"
_REPAIR = (
    "`tutelage cache verify` names the damage, `tutelage cache prune --broken` drops damaged rows; "
    "where that fails, move the file away and run again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What the file holds."""

    path: str
    rows: int
    file_bytes: int
    """Database and write-ahead log together."""
    body_bytes: int
    """Compressed bodies alone."""
    plain_bytes: int
    """The same bodies before compression."""
    errors: int
    """Rows that hold a failure as data."""
    by_model: dict[str, int] = field(default_factory=dict)
    """Rows per model name; `?` for rows without one."""
    by_kind: dict[str, int] = field(default_factory=dict)
    """Rows per kind of call: generate, score, embed."""


class CallCache:
    """`get_many` and `put_many` over 16-byte keys. One object serves one process; its threads take turns."""

    def __init__(self, path: Path | str, *, busy_s: float = 60.0, max_bytes: int | None = None) -> None:
        """`busy_s`: how long to wait for another process's write. `max_bytes`: refuse to grow the database beyond it."""
        self.path = Path(path)
        self._busy_s = busy_s
        self._max_bytes = max_bytes
        self._database = Database("call cache", self.path, busy_s=busy_s, prepare=self._prepare, repair=_REPAIR, elsewhere=_ELSEWHERE)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        # One snapshot: another process may be making the tables at this moment.
        empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        connection.execute("COMMIT")
        if not empty and application != _APPLICATION_ID:
            raise StorageError(f"{self.path} is a database, but not a call cache", fix="name another file in TUTELAGE_CACHE")
        if not empty and version != SCHEMA_VERSION:
            raise StorageError(
                f"call cache {self.path} was written by another version of this package",
                got=f"format {version}, this version reads {SCHEMA_VERSION}",
                fix="name another file in TUTELAGE_CACHE, or export it with the version that wrote it and import it here",
            )
        use_wal(connection, self._busy_s)
        connection.execute("PRAGMA synchronous = FULL")
        if self._max_bytes is not None:
            page = connection.execute("PRAGMA page_size").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {max(1, self._max_bytes // page)}")
        if empty:
            connection.execute("BEGIN IMMEDIATE")
            # Another process may have made the tables while this one waited for the lock.
            connection.execute(
                "CREATE TABLE IF NOT EXISTS calls (key BLOB NOT NULL UNIQUE, body BLOB NOT NULL, written_s INTEGER NOT NULL)"
            )
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The bodies of those keys that are there."""
        found: dict[bytes, bytes] = {}
        with self._database.turn() as db:
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                part = keys[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(part))
                for key, body in db.execute(f"SELECT key, body FROM calls WHERE key IN ({marks})", part):
                    found[key] = self._plain(key, body)
        return found

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        """Keep all items in one transaction, on the disk when this returns.

        Returns the bodies of those keys that another writer had filled before: theirs stay, and the caller must use them, since a
        replay will.
        """
        now_s = int(time.time())
        given = dict(items)
        rows = []
        for key, body in given.items():
            if len(key) != DIGEST_BYTES:
                raise InternalError(
                    "call key has the wrong length", got=f"{len(key)} bytes", fix=f"use hashing.digest ({DIGEST_BYTES} bytes)"
                )
            rows.append((key, _packed(body), now_s))
        if not rows:
            return {}
        with self._database.transaction(needed=sum(len(r[1]) for r in rows)) as db:
            count = sum(_insert(db, part) for part in _parts_of(rows))
        if count == len(rows):
            return {}
        return {key: body for key, body in self.get_many(list(given)).items() if body != given[key]}

    def rows(self) -> Iterator[tuple[bytes, bytes, int]]:
        """(key, body, written in seconds since 1970) of every row, oldest first, a few at a time."""
        last = 0
        while True:
            with self._database.turn() as db:
                page = db.execute(
                    "SELECT rowid, key, body, written_s FROM calls WHERE rowid > ? ORDER BY rowid LIMIT 500", (last,)
                ).fetchall()
            if not page:
                return
            for last, key, body, written_s in page:  # noqa: B007  `last` is where the next page starts
                yield key, self._plain(key, body), written_s

    def stats(self) -> CacheStats:
        rows = errors = plain = 0
        by_model: dict[str, int] = {}
        by_kind: dict[str, int] = {}
        for _, body, _ in self.rows():
            rows += 1
            plain += len(body)
            call, answer, model = _parts(body)
            kind = str(call.get("kind", "?"))
            by_model[model] = by_model.get(model, 0) + 1
            by_kind[kind] = by_kind.get(kind, 0) + 1
            errors += bool(answer.get("error"))
        with self._database.turn() as db:
            packed = db.execute("SELECT coalesce(sum(length(body)), 0) FROM calls").fetchone()[0]
        return CacheStats(
            path=str(self.path), rows=rows, file_bytes=self.file_bytes, body_bytes=packed, plain_bytes=plain,
            errors=errors, by_model=by_model, by_kind=by_kind,
        )  # fmt: skip

    @property
    def file_bytes(self) -> int:
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(f.stat().st_size for f in files if f.exists())

    def __len__(self) -> int:
        with self._database.turn() as db:
            return db.execute("SELECT count(*) FROM calls").fetchone()[0]

    def verify(self) -> list[str]:
        """What is wrong with the file, one line per finding; empty when every row is readable and hashes to its own key."""
        found: list[str] = []
        with self._database.turn() as db:
            try:
                for (line,) in db.execute("PRAGMA integrity_check"):
                    if line != "ok":
                        found.append(f"file: {line}")
                for key, body in db.execute("SELECT key, body FROM calls ORDER BY rowid"):
                    try:
                        call, _, _ = _parts(zlib.decompress(body))
                    except (zlib.error, orjson.JSONDecodeError) as problem:
                        found.append(f"row {key.hex()}: unreadable ({problem})")
                        continue
                    if call and digest(call) != key:
                        found.append(f"row {key.hex()}: the question in it belongs to another key ({digest(call).hex()})")
            except sqlite3.DatabaseError as problem:
                found.append(f"file: {problem}")
        return found

    def prune(self, *, model: str | None = None, older_than_s: float | None = None, errors: bool = False, broken: bool = False) -> int:
        """Delete rows that fulfil every condition given, and give their space back. Returns how many.

        `errors`: rows that hold a failure, so that the next run asks again. `broken`: rows that cannot be read.
        """
        if model is None and older_than_s is None and not errors and not broken:
            raise InternalError("prune without a condition would empty the cache", fix="delete the file instead")
        now_s = time.time()
        doomed: list[tuple[int]] = []
        with self._database.turn() as db:
            for rowid, body, written_s in db.execute("SELECT rowid, body, written_s FROM calls"):
                try:
                    _, answer, name = _parts(zlib.decompress(body))
                except (zlib.error, orjson.JSONDecodeError):
                    if broken and model is None and not errors and (older_than_s is None or now_s - written_s > older_than_s):
                        doomed.append((rowid,))
                    continue
                if broken:
                    continue
                if model is not None and model != name:
                    continue
                if older_than_s is not None and now_s - written_s <= older_than_s:
                    continue
                if errors and not answer.get("error"):
                    continue
                doomed.append((rowid,))
            if doomed:
                with self._database.transaction():
                    db.executemany("DELETE FROM calls WHERE rowid = ?", doomed)
                db.execute("VACUUM")
        return len(doomed)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> CallCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _plain(self, key: bytes, body: bytes) -> bytes:
        try:
            return zlib.decompress(body)
        except zlib.error as problem:
            raise StorageError(f"call cache {self.path} is damaged", got=f"row {key.hex()}: {problem}", fix=_REPAIR) from problem


def _parts_of(rows: list[tuple[bytes, bytes, int]]) -> Iterator[list[tuple[bytes, bytes, int]]]:
    """Pieces whose sizes are powers of two, so that few different statements are needed."""
    start = 0
    while left := len(rows) - start:
        size = min(_ROWS_PER_INSERT, 1 << (left.bit_length() - 1))
        yield rows[start : start + size]
        start += size


def _insert(db: sqlite3.Connection, rows: list[tuple[bytes, bytes, int]]) -> int:
    """How many were new. One statement for all: every statement lets the interpreter's lock go."""
    marks = ", ".join(["(?, ?, ?)"] * len(rows))
    return db.execute(f"INSERT OR IGNORE INTO calls (key, body, written_s) VALUES {marks}", list(chain.from_iterable(rows))).rowcount


def _packed(body: bytes) -> bytes:
    size = len(body)
    if size > _SMALL_BYTES:
        return zlib.compress(body, _ZLIB_LEVEL)
    # RFC 1950 and 1951: header, one stored block with its length and the length's complement, checksum.
    return b"\x78\x01\x01" + struct.pack("<HH", size, size ^ 0xFFFF) + body + struct.pack(">I", zlib.adler32(body))


def _parts(body: bytes) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The question, the answer and the model's name of a body as `backends.wrappers` writes it; empty for anything else."""
    row = orjson.loads(body)
    if not isinstance(row, dict):
        return {}, {}, "?"
    call, answer = row.get("call"), row.get("answer")
    return call if isinstance(call, dict) else {}, answer if isinstance(answer, dict) else {}, str(row.get("model", "?"))
