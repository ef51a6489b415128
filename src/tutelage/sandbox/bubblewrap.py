"""The sandbox that contains: bubblewrap (`bwrap`), one throw-away set of namespaces for every execution.

Inside there is no network, no process but the program's own, no environment, no terminal, no file of the user: the root is an empty
file system in memory into which /usr, the libraries and the Python installation are mounted read-only, and two scratch folders of bounded
size are all that can be written. No capability is held and no further user namespace can be made.

What bounds the rest: address space, processor time, file size and open files by the kernel per process; processes and private memory of all
of them together, output and wall time by a watch every 20 ms. Not bounded: memory in anonymous files (`memfd`) beyond open files times
file size, and the load on the machine until a limit ends it. A hole in the kernel is not contained by anything here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import orjson

from tutelage.sandbox.limits import Execution, Job, Limits
from tutelage.sandbox.watch import rlimits, spawn, watch

BOX = "/box"
"""Where the program lies and runs; gone when it ends."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")


@cache
def unavailable() -> str | None:
    """Why bubblewrap cannot be used here; None where it can."""
    program = shutil.which("bwrap")
    if program is None:
        return "the program bwrap is not installed"
    try:
        tried = subprocess.run([*_walls(program, Limits(), ()), "/usr/bin/true"], capture_output=True, env={}, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as failed:
        return f"bwrap does not start: {failed}"
    if tried.returncode == 0:
        return None
    return "bwrap may not make namespaces here: " + tried.stderr.decode("utf-8", "replace").strip()[:200]


class Bubblewrap:
    """Runs jobs behind walls. `readable` are further folders that programs may import from and read."""

    name = "bubblewrap"

    def __init__(self, *, readable: Sequence[Path | str] = ()) -> None:
        self._readable = tuple(str(Path(p).resolve()) for p in readable)
        self._program = shutil.which("bwrap") or "bwrap"

    def execute(self, job: Job, limits: Limits) -> Execution:
        files = {"inside.py": inside(), "main.py": job.source.encode("utf-8", "replace"), **job.files}
        process = self._start(files, limits, ("run", orjson.dumps(rlimits(limits)).decode(), f"{BOX}/main.py"))
        return watch(process, job.stdin.encode("utf-8", "replace"), limits)

    def serve(self, limits: Limits) -> subprocess.Popen[bytes]:
        """A process that answers requests (`inside.serve`)."""
        return self._start({"inside.py": inside()}, limits, ("serve", orjson.dumps(rlimits(limits)).decode()))

    def _start(self, files: dict[str, bytes], limits: Limits, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        descriptors: list[int] = []
        given: list[str] = []
        try:
            for name, content in files.items():
                descriptor = _in_memory(content)
                descriptors.append(descriptor)
                given += ["--ro-bind-data", str(descriptor), f"{BOX}/{check_name(name)}"]
            walls = _walls(self._program, limits, self._readable, given)
            search = ["--setenv", "PYTHONPATH", os.pathsep.join(self._readable)] if self._readable else []
            isolated = "-sSB" if self._readable else "-ISB"
            return spawn(
                [*walls, *search, "--", python_program(), isolated, "-X", "utf8", f"{BOX}/inside.py", *arguments], pass_fds=descriptors
            )
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _walls(program: str, limits: Limits, readable: Sequence[str], files: Sequence[str] = ()) -> list[str]:
    size = str(limits.memory_mb * 2**20)
    walls = [program, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv"]
    walls += ["--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "box"]
    for path in _SYSTEM:
        if os.path.islink(path):
            walls += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            walls += ["--ro-bind", path, path]
    for path in dict.fromkeys((python_home(), *readable)):
        if not path.startswith("/usr/"):
            walls += ["--ro-bind", path, path]
    walls += [
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--size",
        size,
        "--tmpfs",
        "/dev/shm",
        "--size",
        size,
        "--tmpfs",
        "/tmp",
        "--size",
        size,
        "--tmpfs",
        BOX,
    ]
    walls += [*files, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", BOX]
    walls += ["--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", BOX, "--setenv", "LANG", "C.UTF-8"]
    return walls


def python_home() -> str:
    """The folder of the Python installation itself, not of a virtual environment."""
    return str(Path(sys.base_prefix).resolve())


def python_program() -> str:
    """The interpreter of that installation."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = Path(sys.base_prefix).resolve() / "bin" / name
    return str(found) if found.exists() else str(Path(sys.executable).resolve())


@cache
def inside() -> bytes:
    """The source of the program that runs in the sandbox."""
    return Path(__file__).with_name("inside.py").read_bytes()


def check_name(name: str) -> str:
    """The name of a job's file, which may not lead anywhere."""
    from tutelage.errors import SettingsError

    if not name or "/" in name or "\x00" in name or name in (".", ".."):
        raise SettingsError("a file of a sandbox job needs a plain name", got=repr(name))
    return name


def _in_memory(content: bytes) -> int:
    descriptor = os.memfd_create("job")
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
