"""The processes of a run: each works through its share of the seeds, and never two on the same seed of a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from tutelage import errors
from tutelage.errors import InternalError, StorageError, TutelageError
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One seed of one run folder, to be worked through by one process."""

    folder: Path
    seed: int
    budget: str | None = None
    """Hard cap on the spending of the whole run folder."""
    cap: str | None = None
    """What each arm under this seed may ask for, from the cache or not."""


JobWatch = Callable[[Job, str, str, int, int], None]
"""(job, arm, step, done, total)"""


@dataclass(slots=True)
class Worked:
    """What became of jobs: a result, or the error that ended it."""

    results: dict[Job, dict[str, int]] = field(default_factory=dict)
    errors: dict[Job, TutelageError] = field(default_factory=dict)


def in_processes(folder: Path, seeds: Sequence[int], jobs: int, budget: str | None, watch: Watch) -> list[dict[str, int]]:
    """Run seeds of one folder in `jobs` processes; the first that fails ends all of them."""
    shares = [[Job(folder=folder, seed=seed, budget=budget) for seed in seeds[i::jobs]] for i in range(jobs)]
    done = work_through(shares, lambda job, *step: watch(job.seed, *step))
    return [done.results[job] for seed in seeds for job in done.results if job.seed == seed]


def work_through(shares: Sequence[Sequence[Job]], watch: JobWatch, *, go_on: bool = False) -> Worked:
    """Each share in a process of one thread, one job after the other, so that libraries and models are loaded once.

    The first failure ends everything and is raised; with `go_on` it is kept and the other jobs are done, also those that a crashed process
    left behind. Children end when this process ends: they read their standard input and stop at its end.
    """
    running: list[_Child] = []
    worked = Worked()
    try:
        running = [_Child(share, worked, watch, go_on=go_on) for share in shares if share]
        while running:
            time.sleep(0.02)
            for child in list(running):
                if (code := child.process.poll()) is not None:
                    running.remove(child)
                    child.hang_up()  # of this child alone: the others' go on as long as they do
                    left = [job for job in child.jobs if job not in worked.results and job not in worked.errors]
                    if left:
                        worked.errors[left[0]] = _lost(left[0], code)
                    if not go_on and worked.errors:
                        raise next(iter(worked.errors.values()))
                    if left[1:]:
                        running.append(_Child(left[1:], worked, watch, go_on=go_on))
    finally:
        for child in running:
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        for child in running:
            child.process.wait()
            child.hang_up()
    return worked


class _Child:
    """A process that works through jobs, and the thread that listens to it."""

    def __init__(self, jobs: Sequence[Job], worked: Worked, watch: JobWatch, *, go_on: bool) -> None:
        self.jobs = tuple(jobs)
        self._worked = worked
        self._watch = watch
        asked = {"go_on": go_on, "jobs": [asdict(job) | {"folder": str(job.folder)} for job in jobs]}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-m", "tutelage.experiments.worker", orjson.dumps(asked).decode()]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            job = self.jobs[row["job"]]
            if "step" in row:
                self._watch(job, row["arm"], row["step"], row["done"], row["total"])
            elif "error" in row:
                kind = getattr(errors, row["error"], InternalError)
                self._worked.errors[job] = kind(row["message"], got=row.get("got"), fix=row.get("fix"))
            else:
                self._worked.results[job] = {name: row[name] for name in ("calls", "scored", "fits")}

    def hang_up(self) -> None:
        """Hear an ended process out, then close its pipes."""
        self._listener.join(timeout=5)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not self._listener.is_alive():
                pipe.close()


def _lost(job: Job, code: int) -> InternalError:
    """For a process that ended without a word on this job."""
    crash = job.folder / "seeds" / str(job.seed) / "crash.txt"
    return InternalError(
        f"the process of seed {job.seed} ended without a result",
        got=f"exit {code}" if code >= 0 else f"killed by signal {-code}",
        fix=f"see {crash}; the same command continues"
        if crash.exists()
        else "see whether the memory was full (--jobs 1 needs the least); the same command continues",
    )
