"""The process that compares mathematical expressions. Run as a program; it imports nothing of this package.

It loads math-verify once, then keeps one forked child that does the work. A child that takes too long, takes too much memory or dies is
killed and replaced by a fresh fork in milliseconds, so a hostile expression costs its time limit and nothing more. Requests and replies
are one JSON object per line.

It ends when its standard input ends, that is, with its owner, however that ends; when its owner is gone and somebody else still holds the
other end of the pipe; and after a while without work. (The kernel's signal at the parent's death would come when the *thread* that started
this process ends, which is too early.)
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import resource
import select
import signal
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

MEMORY_MB = 1024
"""Address space that a child may take beyond what loading took."""
IDLE_S = 60.0
"""Without a request for so long the process ends; its owner starts another when one is needed."""
_LOOK_S = 2.0
RENEW_AFTER = 5000
"""Requests after which a child is replaced anyway: sympy's caches grow."""


def compare(gold: str, said: str) -> str:
    """`right`, `wrong`, or `unparsed` where one of the two is not mathematics."""
    import math_verify

    golds, answers = _parsed(gold), _parsed(said)
    if not golds:
        return "gold unparsed"
    if not answers:
        return "unparsed"
    return "right" if math_verify.verify(list(golds), list(answers), timeout_seconds=None) else "wrong"


@lru_cache(maxsize=512)
def _parsed(text: str) -> tuple[Any, ...]:
    import math_verify

    marked = text if "$" in text or "\\boxed" in text or "\\[" in text else f"${text}$"
    return tuple(math_verify.parse(marked, parsing_timeout=0) or math_verify.parse(text, parsing_timeout=0))


def work(requests: int, replies: int) -> None:
    """The child: answers until its pipe closes."""
    _die_with_parent()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_MB * 2**20, used + MEMORY_MB * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(requests, "rb") as incoming, os.fdopen(replies, "wb", buffering=0) as outgoing:
        for line in incoming:
            request = json.loads(line)
            try:
                state = compare(request["gold"], request["said"])
            except MemoryError:
                state = "memory"
            except Exception as failed:  # noqa: BLE001 - whatever a parser raises on hostile text means: could not be read
                state = f"unparsed ({type(failed).__name__})"
            outgoing.write(json.dumps(state).encode() + b"\n")


class Child:
    """One forked child and its pipes."""

    def __init__(self) -> None:
        take, self.requests = os.pipe()
        self.replies, give = os.pipe()
        self.served = 0
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.requests)
                os.close(self.replies)
                work(take, give)
            finally:
                os._exit(0)
        os.close(take)
        os.close(give)

    def ask(self, line: bytes, limit_s: float) -> str | None:
        """The state, or None where none came within the limit of processor time (or four times that by the clock)."""
        self.served += 1
        begun, used = time.monotonic(), self._processor_s()
        try:
            os.write(self.requests, line)
        except OSError:
            return "died"
        while not select.select([self.replies], [], [], 0.02)[0]:
            if self._processor_s() - used > limit_s or time.monotonic() - begun > 4 * limit_s:
                return None
        reply = os.read(self.replies, 65536)
        return json.loads(reply) if reply else "died"

    def _processor_s(self) -> float:
        """Of the child so far. By processor time a verdict does not depend on what else the machine is doing."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        for descriptor in (self.requests, self.replies):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _request(owner: int) -> bytes:
    """The next line; nothing where there will be none."""
    waited = 0.0
    while not select.select([0], [], [], _LOOK_S)[0]:
        waited += _LOOK_S
        if os.getppid() != owner or waited >= IDLE_S:
            return b""
    return sys.stdin.buffer.readline()


def main() -> None:
    owner = os.getppid()
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    compare("\\frac{1}{2}", "0.5")
    compare("x^2 + 1", "(1, 2)")
    replies.write('"ready"\n')
    replies.flush()
    child = Child()
    while line := _request(owner):
        if child.served >= RENEW_AFTER:
            child.end()
            child = Child()
        state = child.ask(line, json.loads(line)["limit_s"])
        if state is None or state == "died":
            child.end()
            child = Child()
            state = state or "time"
        replies.write(json.dumps(state) + "\n")
        replies.flush()
    child.end()


def _die_with_parent() -> None:
    """Linux: SIGKILL when the parent ends, however it ends."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    main()
