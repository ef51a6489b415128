"""The processes of a run: each works through its share of the seeds, and never two on the same seed of a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tutelage import errors
from tutelage.errors import InternalError, StorageError
from tutelage.journal.folder import storage_error

if TYPE_CHECKING:
    from tutelage.experiments.run import Watch

PATIENCE_S = 10.0
"""How long a new attempt waits for a process of the last one, which ends by itself once its parent is gone."""


@contextlib.contextmanager
def alone(folder: Path, seed: int, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold one seed of a run folder. The operating system frees it when this process ends in any way."""
    file = folder / "seeds" / str(seed) / ".lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as problem:
        raise storage_error(file, problem) from problem
    try:
        until = time.monotonic() + patience_s
        while not _taken(handle):
            if time.monotonic() > until:
                raise StorageError(
                    f"another process is at work on seed {seed} of this run",
                    got=folder,
                    fix="wait until it is done and run the same command again, or name another --out folder",
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def in_processes(folder: Path, seeds: Sequence[int], jobs: int, budget: str | None, watch: Watch) -> list[dict[str, int]]:
    """Run seeds in `jobs` processes of one thread; each takes its share of the seeds one after the other, so that libraries and models
    are loaded once.

    Children end when this process ends: they read their standard input and stop at its end.
    """
    running: dict[tuple[int, ...], subprocess.Popen[bytes]] = {}
    results: dict[int, dict[str, Any]] = {}
    failures: dict[tuple[int, ...], dict[str, Any]] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

    def listen(share: tuple[int, ...], child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if "step" in row:
                watch(row["seed"], row["arm"], row["step"], row["done"], row["total"])
            elif "error" in row:
                failures[share] = row
            else:
                results[row["seed"]] = row

    listeners: dict[tuple[int, ...], threading.Thread] = {}
    try:
        for share in (tuple(seeds[i::jobs]) for i in range(jobs)):
            command = [
                sys.executable,
                "-m",
                "tutelage.experiments.worker",
                str(folder),
                ",".join(map(str, share)),
                *([budget] if budget else []),
            ]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True)
            running[share] = child
            listeners[share] = threading.Thread(target=listen, args=(share, child), daemon=True)
            listeners[share].start()
        while running:
            time.sleep(0.02)
            for share, child in list(running.items()):
                if child.poll() is not None:
                    del running[share]
                    _hang_up(child, listeners[share])  # of this child alone: the others' go on as long as they do
                    _check(share, child.returncode, results, failures.get(share), folder)
    finally:
        for child in running.values():
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        for share, child in running.items():
            child.wait()
            _hang_up(child, listeners[share])
    return [results[seed] for seed in seeds]


def _hang_up(child: subprocess.Popen[bytes], listener: threading.Thread) -> None:
    """Hear an ended child out, then close its pipes."""
    listener.join(timeout=5)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None and not listener.is_alive():
            pipe.close()


def _check(share: tuple[int, ...], code: int, results: Mapping[int, Any], failure: dict[str, Any] | None, folder: Path) -> None:
    missing = [seed for seed in share if seed not in results]
    if code == 0 and not missing:
        return
    if failure is not None:
        kind = getattr(errors, failure["error"], InternalError)
        raise kind(failure["message"], got=failure.get("got"), fix=failure.get("fix"))
    crash = folder / "seeds" / str((missing or share)[0]) / "crash.txt"
    raise InternalError(
        f"the process of seed {(missing or share)[0]} ended without a result",
        got=f"exit {code}" if code >= 0 else f"killed by signal {-code}",
        fix=f"see {crash}; the same command continues"
        if crash.exists()
        else "see whether the memory was full (--jobs 1 needs the least); the same command continues",
    )
