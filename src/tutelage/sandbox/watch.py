"""Watching a foreign process: its output is bounded, its time is bounded, its family is counted and weighed, and all of it ends."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tutelage.sandbox.limits import Execution, Limits

_TICK_S = 0.02
_PAGE_MB = os.sysconf("SC_PAGESIZE") / 2**20
_TIME_SIGNALS = (signal.SIGXCPU,)


def rlimits(limits: Limits) -> dict[str, int]:
    """The limits that the kernel enforces on each process, by the names of the module `resource`."""
    return {
        "RLIMIT_AS": limits.memory_mb * 2**20,
        "RLIMIT_CPU": limits.cpu_s,
        "RLIMIT_FSIZE": limits.file_mb * 2**20,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
        "output_bytes": limits.output_bytes,
    }


def watch(process: subprocess.Popen[bytes], stdin: bytes, limits: Limits) -> Execution:
    """Feeds and reads the process until it ends or a limit is reached; afterwards nothing of it is left."""
    started = time.monotonic()
    taken: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    status = _pump(process, stdin, limits, started, taken)
    kill_family(process)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    code = process.wait()
    if not status:
        ran_out = (code < 0 and -code in _TIME_SIGNALS) or code - 128 in _TIME_SIGNALS
        status = "ok" if code == 0 else "time" if ran_out else "error"
    return Execution(
        stdout=taken["stdout"].decode("utf-8", "replace"),
        stderr=taken["stderr"].decode("utf-8", "replace"),
        status=status,
        exit_code=code,
        elapsed_s=time.monotonic() - started,
    )


def _pump(process: subprocess.Popen[bytes], stdin: bytes, limits: Limits, started: float, taken: dict[str, bytearray]) -> str:
    """The limit that was reached, or nothing."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with selectors.DefaultSelector() as pipes:
        for pipe, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
            os.set_blocking(pipe.fileno(), False)
            pipes.register(pipe, selectors.EVENT_READ, name)
        os.set_blocking(process.stdin.fileno(), False)
        if stdin:
            pipes.register(process.stdin, selectors.EVENT_WRITE, "stdin")
        else:
            process.stdin.close()
        left = memoryview(stdin)
        next_look = started
        while True:
            now = time.monotonic()
            if now - started > limits.wall_s:
                return "time"
            if now >= next_look:
                next_look = now + _TICK_S
                over = over_limits(process.pid, limits)
                if over:
                    return over
            ended = process.poll() is not None
            events = pipes.select(0 if ended else _TICK_S) if pipes.get_map() else []
            if not pipes.get_map() and not ended:
                time.sleep(_TICK_S / 4)
            for key, _ in events:
                if key.data == "stdin":
                    try:
                        left = left[os.write(key.fd, left[:65536]) :]
                    except BlockingIOError:
                        continue
                    except OSError:
                        left = left[:0]
                    if not left:
                        pipes.unregister(key.fileobj)
                        process.stdin.close()
                    continue
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    pipes.unregister(key.fileobj)
                    continue
                kept = taken[key.data]
                kept += chunk[: limits.output_bytes - len(kept)]
                if len(kept) >= limits.output_bytes and len(chunk) > 0:
                    return "output"
            if ended and not any(key.data != "stdin" for key, _ in events):
                return ""


def over_limits(pid: int, limits: Limits) -> str:
    family = family_of(pid)
    if len(family) > limits.processes + 2:  # the launcher and its first process are not the program's
        return "processes"
    return "memory" if sum(map(_resident_mb, family)) > limits.memory_mb else ""


def family_of(pid: int) -> list[int]:
    """The process and all its living descendants."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                with contextlib.suppress(OSError):
                    todo += map(int, (thread / "children").read_text().split())
    return found


def _resident_mb(pid: int) -> float:
    """Private memory of the process: shared pages (the interpreter, forked copies) are not counted again."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        return max(0, int(fields[1]) - int(fields[2])) * _PAGE_MB
    except (OSError, ValueError, IndexError):
        return 0.0


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """Ends the process, its group and every descendant that can still be found.

    Descendants first: the launcher then sees its child die, reaps it and leaves by itself. Killed first, it would leave the reaping to
    whatever runs as process 1, which in a container may be a program that does not reap.
    """
    if process.poll() is None:
        descendants = family_of(process.pid)[1:]
        for pid in descendants:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if descendants:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def spawn(
    argv: Sequence[str], *, pass_fds: Sequence[int] = (), cwd: str | None = None, env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A process of its own session with nothing of our environment and none of our descriptors."""
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env or {},
        cwd=cwd,
        pass_fds=tuple(pass_fds),
        close_fds=True,
        start_new_session=True,
    )
