"""Equality of mathematical expressions: math-verify, in a process that is killed when it takes too long.

math-verify's own time limits work in a main thread only, and some expressions (towers of powers, deep nesting) take minutes or all
memory. Here no pair costs more than its limit, whatever it says.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import orjson

from tutelage.errors import SandboxError, missing_extra
from tutelage.records import Problem, Verdict
from tutelage.verify.exact import plain
from tutelage.verify.extract import final_answer
from tutelage.verify.numeric import digits, parse_number

LIMIT_S = 1.0
"""Of processor time per pair, a hundred times what an ordinary one takes. With the replacement of the killed child no pair takes 2 s on a
machine that gives it half a processor."""
LENGTH_LIMIT = 4000
"""A longer answer is a derivation or a runaway generation; it is not handed to the parser."""
_START_S = 60.0


class Maths:
    """A verifier that owns a worker process, started on first use and again after a pause. `close` it, or use it in a `with` statement."""

    def __init__(self, *, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Maths:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """Whether the final answer in `text` is mathematically the problem's answer."""
        found = final_answer(text)
        if found is None:
            return Verdict(score=0.0, parsed=False, reason="no final answer in the text")
        if problem.answer is None:
            return Verdict(score=0.0, extracted=found.value, parsed=False, reason="the problem has no answer to compare with")
        state = self.compare(problem.answer, found.value)
        parsed = state in ("right", "wrong")
        return Verdict(score=float(state == "right"), extracted=found.value, parsed=parsed, reason=found.rule if parsed else state)

    def compare(self, gold: str, said: str) -> str:
        """`right`, `wrong`, `unparsed...`, or the limit it ran into: `time`, `memory`, `died`."""
        if max(len(gold), len(said)) > LENGTH_LIMIT:
            return "unparsed (too long)"
        if plain(gold, case=True, spaces=False) == plain(said, case=True, spaces=False):
            return "right"
        if _plain_number(gold) is not None and _plain_number(said) is not None:
            return "right" if _plain_number(gold) == _plain_number(said) else "wrong"
        with self._lock:
            state = self._ask(gold, said)
            # A worker that was killed from outside has not judged; a fresh one is asked once.
            return self._ask(gold, said) if state == "gone" else state

    def pids(self) -> list[int]:
        """The worker process, where one is running."""
        return [self._process.pid] if self._process is not None and self._process.poll() is None else []

    def close(self) -> None:
        """Ends the worker and its child."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()

    def _ask(self, gold: str, said: str) -> str:
        process = self._started()
        assert process.stdin is not None
        line = orjson.dumps({"gold": _encodable(gold), "said": _encodable(said), "limit_s": self._limit_s}) + b"\n"
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except OSError:
            self.close()
            return "gone"
        # The worker keeps the limit itself; this second look is for a worker that is stuck or gone.
        reply = _read_line(process, 4 * self._limit_s + 1)
        if reply is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            self.close()
            return "time"
        if reply == "gone":
            self.close()
        return reply

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        if importlib.util.find_spec("math_verify") is None:
            raise missing_extra("math-verify", "verify")
        worker = Path(__file__).with_name("maths_worker.py")
        process = subprocess.Popen(
            [sys.executable, "-u", str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._process = process
        if _read_line(process, _START_S) != "ready":
            self.close()
            raise SandboxError("the process that compares expressions did not start", got=f"{sys.executable} {worker.name}")
        return process


def maths(problem: Problem, text: str) -> Verdict:
    """`Maths` with one worker per process, ended when this process ends."""
    return _shared()(problem, text)


_SHARED: list[Maths] = []


def _shared() -> Maths:
    if not _SHARED:
        _SHARED.append(Maths())
        atexit.register(_SHARED[0].close)
    return _SHARED[0]


def compare_all(pairs: Sequence[tuple[str, str]], *, limit_s: float = LIMIT_S) -> list[str]:
    """The state of each (gold, said) pair, in order."""
    with Maths(limit_s=limit_s) as worker:
        return [worker.compare(gold, said) for gold, said in pairs]


def _plain_number(text: str) -> str | None:
    """The number, where the text is nothing but digits with an optional sign, point and thousands commas."""
    stripped = text.strip().lstrip("-+")
    if not stripped or not all(c.isdigit() or c in ".," for c in stripped) or not stripped.isascii():
        return None
    number = parse_number(text)
    return digits(number[0]) if number else None


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")


def _read_line(process: subprocess.Popen[bytes], limit_s: float) -> str | None:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], limit_s)
    if not ready:
        return None
    line = process.stdout.readline()
    return orjson.loads(line) if line else "gone"
