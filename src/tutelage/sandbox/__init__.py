"""Where generated code and SQL run: a process behind walls, with limits.

`open_sandbox()` gives bubblewrap, or refuses; the weak fallback needs `allow_weak=True`, which the command line calls
`--allow-weak-sandbox`. `execute_all` runs many jobs on several processors.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tutelage.errors import SandboxError
from tutelage.sandbox.bubblewrap import Bubblewrap, unavailable
from tutelage.sandbox.limits import Execution, Job, Limits
from tutelage.sandbox.weak import Weak
from tutelage.sandbox.worker import Worker

__all__ = ["Bubblewrap", "Execution", "Job", "Limits", "Sandbox", "Weak", "Worker", "execute_all", "open_sandbox", "unavailable"]

Sandbox = Bubblewrap | Weak


def open_sandbox(*, allow_weak: bool = False, readable: Sequence[Path | str] = ()) -> Sandbox:
    """Bubblewrap where it works here; else the weak fallback where that was allowed; else an error with the way out."""
    reason = unavailable()
    if reason is None:
        return Bubblewrap(readable=readable)
    if allow_weak:
        return Weak(readable=readable)
    raise SandboxError(
        "generated code cannot be contained on this machine",
        got=reason,
        fix="install bubblewrap (Debian: apt install bubblewrap), or accept a plain process with limits by --allow-weak-sandbox",
    )


def execute_all(sandbox: Sandbox, jobs: Sequence[Job], limits: Limits, *, processors: int = 2) -> list[Execution]:
    """What came of each job, in order. Jobs are processes; the threads here only wait for them."""
    with ThreadPoolExecutor(max_workers=max(1, processors)) as waiting:
        return list(waiting.map(lambda job: sandbox.execute(job, limits), jobs))
