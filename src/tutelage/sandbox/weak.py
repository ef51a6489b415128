"""The fallback where bubblewrap is missing: a plain process with limits. Only with the user's explicit consent.

It does NOT contain:
- reading: every file that the user may read can be read, keys and other people's data included;
- writing and deleting: every file that the user may write can be changed or removed;
- network: connections in and out are open;
- signals: any process of the user can be killed or traced;
- escape: a process that starts a session of its own, or outlives its parent between two looks of the watch, may go on running;
- memory in anonymous files, in /dev/shm and on disk; only address space per process and private memory of the known family are bounded;
- what it learns from /proc about the machine and the user's processes, their environment included.

It does bound processor time, address space, file size, output, wall time and the number of processes, hides this process's environment
and starts in an empty folder that is removed afterwards.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import orjson

from tutelage.sandbox.bubblewrap import check_name, inside, python_program
from tutelage.sandbox.limits import Execution, Job, Limits
from tutelage.sandbox.watch import rlimits, spawn, watch


class Weak:
    """Runs jobs in a process with limits; read the module's docstring for what that leaves open."""

    name = "weak"

    def __init__(self, *, readable: Sequence[Path | str] = ()) -> None:
        self._readable = tuple(str(Path(p).resolve()) for p in readable)

    def execute(self, job: Job, limits: Limits) -> Execution:
        with tempfile.TemporaryDirectory(prefix="box-") as box:
            for name, content in {"inside.py": inside(), "main.py": job.source.encode("utf-8", "replace"), **job.files}.items():
                (Path(box) / check_name(name)).write_bytes(content)
            process = self._start(box, ("run", orjson.dumps(rlimits(limits)).decode(), f"{box}/main.py"))
            return watch(process, job.stdin.encode("utf-8", "replace"), limits)

    def serve(self, limits: Limits) -> subprocess.Popen[bytes]:
        """A process that answers requests (`inside.serve`). It starts in the root folder, which it should not be able to write."""
        source = str(Path(__file__).with_name("inside.py"))
        return self._start("/", ("serve", orjson.dumps(rlimits(limits)).decode()), source=source)

    def _start(self, folder: str, arguments: Sequence[str], *, source: str | None = None) -> subprocess.Popen[bytes]:
        env = {"PATH": "/usr/bin:/bin", "HOME": folder, "LANG": "C.UTF-8"}
        if self._readable:
            env["PYTHONPATH"] = ":".join(self._readable)
        isolated = "-sSB" if self._readable else "-ISB"
        return spawn([python_program(), isolated, "-X", "utf8", source or f"{folder}/inside.py", *arguments], cwd=folder, env=env)
