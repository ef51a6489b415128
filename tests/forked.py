"""Python processes forked from one that has imported the engine: any number of them cost that import once.

Each has a number, standard streams, an environment, a folder and an end of its own, as if an interpreter had been started with the same
words; it can be killed like any other. What is about the start itself (that a verb loads no engine, that processes at work can be
interrupted from a terminal) goes through `subprocess`.
"""

from __future__ import annotations

import atexit
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

IMPORTED = (
    "jinja2",
    "pydantic",
    "rich.console",
    "rich.table",
    "transformers.models.auto.modeling_auto",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen3.modeling_qwen3",
    "tutelage.backends.hf",
    "tutelage.cli.app",
    "tutelage.experiments.plan",
    "tutelage.experiments.run",
    "tutelage.recipes.arte",
    "tutelage.recipes.sft",
    "tutelage.report.writing",
    "tutelage.train.loop",
)
"""None of them starts a thread or computes anything, so a fork behind them is a clean one."""


def run(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout_s: float = 280
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([sys.executable, *words], capture_output=True, text=True)` with nothing on standard input.

    Of an interpreter's options `-m` and `-c` are known, and of its variables PYTHONPATH.
    """
    given = [str(word) for word in words]
    forking = get_context("forkserver")
    forking.set_forkserver_preload([*IMPORTED])
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        for file in said:
            file.touch()
        child = forking.Process(target=_begin, args=(given, str(cwd or Path.cwd()), dict(os.environ if env is None else env), said))
        child.start()
        child.join(timeout_s)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise subprocess.TimeoutExpired(given, timeout_s)
        return subprocess.CompletedProcess(given, child.exitcode, *(file.read_text() for file in said))


def _begin(words: Sequence[str], cwd: str, environment: Mapping[str, str], said: Sequence[Path]) -> None:
    """In the forked process: what a new interpreter does with these words."""
    for number, file in enumerate((os.devnull, *said)):
        handle = os.open(file, os.O_RDWR | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  multiprocessing has put another one there, which is closed
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    first, *rest = words
    known = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[:0] = [cwd if first in ("-m", "-c") else str(Path(first).parent), *known]
    try:
        if first == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = list(words)
            runpy.run_path(first, run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends a process without them
