"""A Python session that lives on between calls, for tool loops: what one call defines the next one sees."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from typing import Any

import orjson

from tutelage.sandbox.bubblewrap import Bubblewrap
from tutelage.sandbox.limits import Execution, Limits
from tutelage.sandbox.watch import family_of, kill_family, over_limits
from tutelage.sandbox.weak import Weak


class Worker:
    """One session. A call that runs into a limit ends the session; the next call begins a new one, and `sessions` counts them.

    Make the first call from a thread that lives as long as the session: bubblewrap ends with the thread that started it.
    The reply of a session is as trustworthy as the code that ran in it: grade with `execute`, not with this.
    """

    def __init__(self, sandbox: Bubblewrap | Weak, limits: Limits) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._read = bytearray()
        self._calls = 0
        self.sessions = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def call(self, source: str) -> Execution:
        """Runs the source in the session; the value of a last expression is printed."""
        if not self.alive:
            self.close()
            self._process = self._sandbox.serve(self._limits)
            self._read = bytearray()
            self.sessions += 1
        self._calls += 1
        started = time.monotonic()
        reply, status = self._exchange(orjson.dumps({"call": self._calls, "source": source}) + b"\n", started)
        elapsed = time.monotonic() - started
        if reply is None:
            self.close()
            return Execution(stdout="", stderr="", status=status, elapsed_s=elapsed)
        return Execution(
            stdout=reply["stdout"], stderr=reply["stderr"], status=reply["status"], exit_code=reply["exit_code"], elapsed_s=elapsed
        )

    def family(self) -> list[int]:
        """Ids of the session's processes as seen from here."""
        return family_of(self._process.pid) if self._process is not None and self.alive else []

    def close(self) -> None:
        """Ends the session; nothing of it is left."""
        process, self._process = self._process, None
        if process is None:
            return
        kill_family(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _exchange(self, request: bytes, started: float) -> tuple[dict[str, Any] | None, str]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(request)
            process.stdin.flush()
        except OSError:
            return None, "error"
        with selectors.DefaultSelector() as pipes:
            pipes.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if time.monotonic() - started > self._limits.wall_s:
                    return None, "time"
                over = over_limits(process.pid, self._limits)
                if over:
                    return None, over
                if pipes.select(0.02):
                    chunk = os.read(process.stdout.fileno(), 65536)
                    if not chunk:
                        return None, "error"
                    self._read += chunk
                    if len(self._read) > 16 * self._limits.output_bytes:
                        return None, "output"
        line, _, rest = bytes(self._read).partition(b"\n")
        self._read = bytearray(rest)
        return _checked(line, self._calls)


def _checked(line: bytes, call: int) -> tuple[dict[str, Any] | None, str]:
    """The reply, where it is one: a session that was tampered with is ended, not believed."""
    try:
        reply = orjson.loads(line)
        right = (
            reply["call"] == call
            and isinstance(reply["stdout"], str)
            and isinstance(reply["stderr"], str)
            and reply["status"] in ("ok", "error", "memory", "output")
            and isinstance(reply["exit_code"], int)
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        right, reply = False, None
    return (reply, "") if right else (None, "error")
