"""One SQLite file that threads and processes share: turns, transactions, and refusals in words."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tutelage.errors import InternalError, StorageError


class Database:
    """An open file in WAL mode. Threads of this process take turns, other processes are waited for; a child process must open its own."""

    def __init__(
        self,
        what: str,
        path: Path | None,
        *,
        busy_s: float,
        prepare: Callable[[sqlite3.Connection], None],
        repair: str,
        elsewhere: str,
    ) -> None:
        """`what` names the file in messages, `repair` is the way out when it is damaged, `elsewhere` where it lies on the wrong disk.
        `prepare` sees the connection before it is used: it refuses files of others and makes the tables. No path: kept in memory."""
        self._what = what
        self._path = path
        self._busy_s = busy_s
        self._repair = repair
        self._elsewhere = elsewhere
        self._lock = threading.RLock()
        self._pid = os.getpid()
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise StorageError(
                    f"folder of the {what} {path} cannot be made", got=problem.strerror, fix=f"check its permissions, or {elsewhere}"
                ) from problem
        with self._translated(0):
            where = ":memory:" if path is None else path
            self._connection = sqlite3.connect(where, timeout=busy_s, isolation_level=None, check_same_thread=False)
            try:
                prepare(self._connection)
            except BaseException:
                self._connection.close()
                raise

    @property
    def is_ours(self) -> bool:
        """Whether this process opened it; a forked child must leave it alone."""
        return os.getpid() == self._pid

    @contextmanager
    def turn(self, needed: int = 0) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone. `needed`: bytes that are going to be written, for the message when the disk is full."""
        if not self.is_ours:
            raise InternalError(f"a {self._what} was carried into another process", got=str(self._path), fix="open the file there again")
        with self._lock, self._translated(needed):
            yield self._connection

    @contextmanager
    def transaction(self, needed: int = 0) -> Iterator[sqlite3.Connection]:
        """All of what is done inside, or nothing of it."""
        with self.turn(needed) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself; a second ROLLBACK would then hide the reason.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._lock:
            if self.is_ours:
                self._connection.close()

    @contextmanager
    def _translated(self, needed: int) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as problem:
            raise self._in_words(problem, needed) from problem

    def _in_words(self, problem: sqlite3.Error, needed: int) -> StorageError:
        """SQLite's refusal: which file, what it needed, and the way out."""
        what, path = self._what, self._path or Path(":memory:")
        code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
        # An extended code of SQLITE_IOERR is also what a full disk gives when the log file cannot grow.
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _free_bytes(path) < max(needed * 2, 1 << 20)):
            return StorageError(
                f"no space left for the {what} {path}",
                got=f"{needed + 65_536:,} bytes needed, {_free_bytes(path):,} free on its disk",
                fix=f"free some space, or {self._elsewhere}; then run the same command again: it continues, nothing committed is lost",
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StorageError(f"{what} {path} is damaged", got=str(problem), fix=self._repair)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StorageError(
                f"{what} {path} is held by another process", got=str(problem), fix="wait for it to end, or end it; then run again"
            )
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return StorageError(f"{what} {path} cannot be written", got=str(problem), fix=f"check its permissions, or {self._elsewhere}")
        return StorageError(f"{what} {path} failed", got=str(problem), fix=self._repair)


def use_wal(connection: sqlite3.Connection, busy_s: float) -> None:
    """Switch to the write-ahead log. SQLite does not wait for other processes here, so two that open a new file at once must try again."""
    until_s = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                raise
            time.sleep(0.01)


def _free_bytes(path: Path) -> int:
    try:
        facts = os.statvfs(path.parent)
    except OSError:
        return 0
    return facts.f_bavail * facts.f_frsize
