"""What a piece of foreign code may use, what it is given, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tutelage.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds for one execution."""

    wall_s: float = 10.0
    """From start to end; then everything in the sandbox is killed."""
    cpu_s: int = 10
    """Processor seconds of each process."""
    memory_mb: int = 512
    """Address space of each process, resident memory of all together, and size of each scratch folder."""
    output_bytes: int = 256 * 1024
    """Of stdout and stderr each; more ends the execution."""
    file_mb: int = 16
    """Size of one written file."""
    processes: int = 32
    """Processes alive at a time, in all."""

    def __post_init__(self) -> None:
        for name in ("wall_s", "cpu_s", "memory_mb", "output_bytes", "file_mb", "processes"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"sandbox limit {name} must be above 0", got=getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A Python program with its input."""

    source: str
    stdin: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict, hash=False)
    """Further files beside the program, by plain name; read-only where the sandbox can make them so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What came of a job. A program that fails, or runs into a limit, is data."""

    stdout: str
    stderr: str
    status: str
    """`ok` (exit 0), `error` (another exit code or a signal), or the limit it ran into: `time`, `memory`, `output`, `processes`."""
    exit_code: int | None = None
    elapsed_s: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status == "ok"
