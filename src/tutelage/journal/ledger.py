"""What a run has spent, and the cap it must not exceed.

Two accounts that are never mixed. *Logical*: what an arm asked for, whether answered by a model or by the cache; arms are compared by it.
*Physical*: what was computed or billed; the budget caps it. A physical amount is reserved (the worst case) before anything is sent and
settled afterwards; what was sent and never billed back (a reset connection, a truncated body, a killed process) is *in doubt*, shown
apart and counted against the budget.

Work that is done in one order and may begin again from an earlier place (a fit and its checkpoints) is a *course*: how far it ever came is
remembered, and only what goes beyond is physical.

Physical amounts live in one small SQLite file of the run folder, shared by the processes of a run and read again by the attempt that
continues it. They survive a kill; a power cut may lose the last second of them (the answers themselves are safer: see `cache`).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from tutelage.errors import BudgetExhausted, InternalError, StorageError
from tutelage.journal.amounts import FIELDS, NOTHING, Budget, Usage, in_words, total
from tutelage.journal.database import Database, use_wal

BUDGETED_ROLES = frozenset({"teacher", "judge", "reference"})
"""Calls of other roles (the student) are shown and never capped."""
_SCHEMA_VERSION = 2
"""1 knew no scored texts and no courses; its amounts are taken over."""
_BUSY_S = 60.0
_TOUCH_S = 0.2
_ELSEWHERE = "name another run folder with --out"
_REPAIR = "move the run folder away and run again: the answers are in the call cache and cost nothing, only the amounts are lost"


class Ledger:
    """The accounts of one run. Open one per process on the same `path`; None keeps them in memory (tests, planning)."""

    def __init__(
        self,
        path: Path | str | None,
        *,
        budget: Budget | None = None,
        budgeted: frozenset[str] = BUDGETED_ROLES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.budget = budget or Budget()
        self.budgeted = budgeted
        self._clock = clock
        self._counting = threading.Lock()
        self._logical: dict[tuple[str, str], Usage] = {}
        self._touched_s = float("-inf")
        self._session = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._session_lock: int | None = None
        if self.path is not None:
            self._session_lock = self._hold(self._session)
        self._database = Database("ledger", self.path, busy_s=_BUSY_S, prepare=self._prepare, repair=_REPAIR, elsewhere=_ELSEWHERE)
        self._take_over()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        use_wal(connection, _BUSY_S)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")  # another process may be taking an older file over
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, 1, _SCHEMA_VERSION):
            raise StorageError(f"ledger {self.path} was written by another version of this package", got=f"format {version}")
        amounts = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in FIELDS)
        # `state` is settled, in_doubt or open; `session` is empty except for open amounts, which belong to a living process.
        connection.execute(
            "CREATE TABLE IF NOT EXISTS spent (state TEXT NOT NULL, session TEXT NOT NULL, role TEXT NOT NULL, arm TEXT NOT NULL, "
            f"{amounts}, PRIMARY KEY (state, session, role, arm)) WITHOUT ROWID"
        )
        if version == 1:
            connection.execute("ALTER TABLE spent ADD COLUMN scored INTEGER NOT NULL DEFAULT 0")
        # How far a course ever came, whoever paid for it.
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS courses (course TEXT NOT NULL, role TEXT NOT NULL, {amounts}, "
            "PRIMARY KEY (course, role)) WITHOUT ROWID"
        )
        connection.execute("CREATE TABLE IF NOT EXISTS sessions (session TEXT PRIMARY KEY, began_s REAL NOT NULL, seen_s REAL NOT NULL)")
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def _lock_file(self, session: str) -> Path:
        if self.path is None:
            raise InternalError("a ledger in memory has no lock files")
        return self.path.with_name(f"{self.path.name}.{session}.lock")

    def _hold(self, session: str) -> int:
        """A lock that the operating system frees when this process ends in any way: how others learn that it is gone."""
        file = self._lock_file(session)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as problem:
            raise StorageError(
                f"ledger {self.path} cannot be written", got=problem.strerror, fix="check the run folder's permissions"
            ) from problem
        fcntl.flock(handle, fcntl.LOCK_EX)
        return handle

    def _gone(self, session: str) -> bool:
        file = self._lock_file(session)
        try:
            handle = os.open(file, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        file.unlink(missing_ok=True)
        return True

    def _take_over(self) -> None:
        """What dead processes had reserved and not settled is in doubt from here on."""
        with self._database.transaction() as db:
            for session in self._others(db):
                if self._gone(session):
                    for role, arm, amount in _amounts(db, "state = 'open' AND session = ?", (session,)):
                        _add(db, "in_doubt", "", role, arm, amount)
                    db.execute("DELETE FROM spent WHERE state = 'open' AND session = ?", (session,))
            now_s = self._clock()
            db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (self._session, now_s, now_s))

    def _others(self, db: sqlite3.Connection) -> set[str]:
        """Sessions that hold reservations, or left their lock file."""
        if self.path is None:
            return set()
        files = self.path.parent.glob(f"{self.path.name}.*.lock")
        left = {file.name.removeprefix(f"{self.path.name}.").removesuffix(".lock") for file in files}
        holding = {session for (session,) in db.execute("SELECT DISTINCT session FROM spent WHERE state = 'open'")}
        return (left | holding) - {self._session}

    # What an arm asked for

    def count(self, role: str, arm: str, amount: Usage) -> None:
        """Charge a logical amount, from the cache or not."""
        with self._counting:
            self._logical[role, arm] = self._logical.get((role, arm), NOTHING) + amount

    def logical(self, *, role: str | None = None, arm: str | None = None) -> Usage:
        """What this process's attempt asked for; a replay counts the same again from zero."""
        with self._counting:
            return total([u for (r, a), u in self._logical.items() if role in (None, r) and arm in (None, a)])

    def logical_by_role(self, arm: str) -> dict[str, Usage]:
        """The same, for every role that the arm asked."""
        with self._counting:
            return {r: amount for (r, a), amount in self._logical.items() if a == arm}

    # What is computed or billed

    def reserve(self, role: str, arm: str, worst: Sequence[Usage]) -> int:
        """Set the worst case of as many of these amounts aside, from the first on, as fit under the budget. Returns how many fit."""
        if not worst:
            return 0
        with self._database.transaction() as db:
            fitting = len(worst)
            if role in self.budgeted and not self.budget.unlimited:
                fitting = self._fitting(self.charged(), worst)
            if fitting:
                _add(db, "open", self._session, role, arm, total(worst[:fitting]))
            self._touch(db)
        return fitting

    def _fitting(self, spent: Usage, worst: Sequence[Usage]) -> int:
        budget = self.budget
        if budget.minutes is not None and self.minutes() >= budget.minutes:
            return 0
        calls, tokens, money = spent.calls, spent.tokens, spent.picodollars
        for index, amount in enumerate(worst):
            calls, tokens, money = calls + amount.calls, tokens + amount.tokens, money + amount.picodollars
            over = (
                (budget.calls is not None and calls > budget.calls)
                or (budget.tokens is not None and tokens > budget.tokens)
                or (budget.picodollars is not None and money > budget.picodollars)
            )
            if over:
                return index
        return len(worst)

    def settle(self, role: str, arm: str, reserved: Usage, *, spent: Usage = NOTHING, in_doubt: Usage = NOTHING) -> None:
        """Give a reservation back and write down what it became. Settled and doubtful amounts may both be nothing (a refused call)."""
        with self._database.transaction() as db:
            _add(db, "open", self._session, role, arm, NOTHING - reserved)
            if spent != NOTHING:
                _add(db, "settled", "", role, arm, spent)
            if in_doubt != NOTHING:
                _add(db, "in_doubt", "", role, arm, in_doubt)
            self._touch(db)

    def spend(
        self, role: str, arm: str, amount: Usage, *, what: str = "one step of training", course: str = "", before: Usage = NOTHING
    ) -> None:
        """Charge work whose size is known beforehand (training, texts scored in a fit), logically and physically; `BudgetExhausted` if it
        does not fit. `what` names it there.

        Of a `course`, `before` is how much of it lies behind: physically only what goes beyond its farthest place so far is charged.
        """
        with self._database.transaction() as db:
            new = _beyond(db, course, role, before, amount)
            fits = self._affords(role, new)
            if fits and new != NOTHING:
                _add(db, "settled", "", role, arm, new)
                if course:
                    _advance(db, course, role, new)
            self._touch(db)
        if not fits:
            raise self.exhausted(role, missing=what, needed=new)
        self.count(role, arm, amount)

    def afford(self, role: str, amount: Usage, *, what: str, course: str = "", before: Usage = NOTHING) -> None:
        """`BudgetExhausted` if `spend` could not charge this now; nothing is charged."""
        if role in self.budgeted and not self.budget.unlimited:
            with self._database.turn() as db:
                new = _beyond(db, course, role, before, amount)
            if not self._affords(role, new):
                raise self.exhausted(role, missing=what, needed=new)

    def _affords(self, role: str, new: Usage) -> bool:
        capped = role in self.budgeted and not self.budget.unlimited and new != NOTHING
        return not capped or self._fitting(self.charged(), [new]) == 1

    def physical(self, *, role: str | None = None, arm: str | None = None) -> Usage:
        """Settled amounts of all attempts and processes of the run."""
        return self._sum("settled", role, arm)

    def in_doubt(self, *, role: str | None = None, arm: str | None = None) -> Usage:
        """Sent, and never billed back to us."""
        return self._sum("in_doubt", role, arm)

    def charged(self) -> Usage:
        """What counts against the budget now: settled, in doubt and reserved amounts of the budgeted roles."""
        with self._database.turn() as db:
            return total([u for role, _, u in _amounts(db, "1") if role in self.budgeted])

    def minutes(self) -> float:
        """Wall-clock time over all attempts; processes at work at the same time count once."""
        with self._database.turn() as db:
            own_s = "CASE WHEN session = ? THEN max(seen_s, ?) ELSE seen_s END"
            spans = db.execute(f"SELECT began_s, {own_s} FROM sessions ORDER BY began_s", (self._session, self._clock())).fetchall()
        covered_s, until_s = 0.0, float("-inf")
        for began_s, seen_s in spans:
            covered_s += max(0.0, seen_s - max(began_s, until_s))
            until_s = max(until_s, seen_s)
        return covered_s / 60

    def exhausted(self, role: str, *, missing: str, needed: Usage) -> BudgetExhausted:
        """The error for work that does not fit: what was done, what is missing, how to go on."""
        spent, doubt = self.charged(), self._budgeted_sum("in_doubt")
        done = f"{in_words(spent)}, {self.minutes():.1f} minutes"
        if doubt != NOTHING:
            done += f" (of these in doubt: {in_words(doubt)})"
        return BudgetExhausted(
            f"budget {self.budget.describe()} is used up: {missing} missing for role '{role}'",
            got=f"spent {done}; the next piece needs up to {in_words(needed)}",
            fix="run the same command with a larger --budget: it continues, and nothing paid is asked again",
        )

    def summary(self) -> dict[str, Any]:
        """All accounts as JSON, for the journal and the report."""
        accounts: dict[tuple[str, str], dict[str, Any]] = {}
        with self._counting:
            for (role, arm), amount in self._logical.items():
                accounts.setdefault((role, arm), {})["logical"] = amount.as_json()
        with self._database.turn() as db:
            for state in ("settled", "in_doubt"):
                for role, arm, amount in _amounts(db, "state = ?", (state,)):
                    accounts.setdefault((role, arm), {})["physical" if state == "settled" else state] = amount.as_json()
        rows = [{"role": role, "arm": arm, **amounts} for (role, arm), amounts in sorted(accounts.items())]
        return {"budget": self.budget.describe(), "minutes": round(self.minutes(), 3), "accounts": rows}

    def close(self) -> None:
        if not self._database.is_ours or self._session_lock == -1:
            return
        with self._database.transaction() as db:
            self._touch(db, at_least_s=0.0)
            # Reservations still open belong to calls that were cut off between sending and answering.
            for role, arm, amount in _amounts(db, "state = 'open' AND session = ?", (self._session,)):
                if amount != NOTHING:
                    _add(db, "in_doubt", "", role, arm, amount)
            db.execute("DELETE FROM spent WHERE state = 'open' AND session = ?", (self._session,))
        self._database.close()
        if self._session_lock is not None:
            self._lock_file(self._session).unlink(missing_ok=True)
            os.close(self._session_lock)
        self._session_lock = -1

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _touch(self, db: sqlite3.Connection, *, at_least_s: float = _TOUCH_S) -> None:
        """Note that this process lives; a kill loses no more than `at_least_s` of its time."""
        now_s = self._clock()
        if now_s - self._touched_s >= at_least_s:
            self._touched_s = now_s
            db.execute("UPDATE sessions SET seen_s = max(seen_s, ?) WHERE session = ?", (now_s, self._session))

    def _sum(self, state: str, role: str | None, arm: str | None) -> Usage:
        with self._database.turn() as db:
            return total([u for r, a, u in _amounts(db, "state = ?", (state,)) if role in (None, r) and arm in (None, a)])

    def _budgeted_sum(self, state: str) -> Usage:
        with self._database.turn() as db:
            return total([u for r, _, u in _amounts(db, "state = ?", (state,)) if r in self.budgeted])


_ADD = (
    f"INSERT INTO spent (state, session, role, arm, {', '.join(FIELDS)}) VALUES ({', '.join('?' * (4 + len(FIELDS)))}) "
    f"ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in FIELDS)}"
)


def _add(db: sqlite3.Connection, state: str, session: str, role: str, arm: str, amount: Usage) -> None:
    db.execute(_ADD, (state, session, role, arm, *astuple(amount)))


def _amounts(db: sqlite3.Connection, where: str, values: tuple[str, ...] = ()) -> list[tuple[str, str, Usage]]:
    rows = db.execute(f"SELECT role, arm, {', '.join(FIELDS)} FROM spent WHERE {where}", values).fetchall()
    return [(row[0], row[1], Usage(**dict(zip(FIELDS, row[2:], strict=True)))) for row in rows]


_ADVANCE = (
    f"INSERT INTO courses (course, role, {', '.join(FIELDS)}) VALUES ({', '.join('?' * (2 + len(FIELDS)))}) "
    f"ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in FIELDS)}"
)


def _advance(db: sqlite3.Connection, course: str, role: str, new: Usage) -> None:
    db.execute(_ADVANCE, (course, role, *astuple(new)))


def _beyond(db: sqlite3.Connection, course: str, role: str, before: Usage, amount: Usage) -> Usage:
    """What of `amount`, done behind `before`, the course has not come to yet; all of it outside of a course."""
    if not course:
        return amount
    row = db.execute(f"SELECT {', '.join(FIELDS)} FROM courses WHERE course = ? AND role = ?", (course, role)).fetchone()
    far = NOTHING if row is None else Usage(**dict(zip(FIELDS, row, strict=True)))
    gone = before + amount
    return Usage(**{name: max(0, getattr(gone, name) - getattr(far, name)) for name in FIELDS})
