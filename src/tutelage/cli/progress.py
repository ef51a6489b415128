"""Progress of a run on the terminal: a line per seed with step, count, rate and time left.

Nothing is drawn where output is not a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tutelage.experiments.run import Watch

PLAIN_EVERY_S = 15.0
"""Where output is a file, one line per seed at most this often."""


@contextmanager
def watching(request: Any, *, quiet: bool) -> Iterator[Watch]:
    """A watcher for `run_request`; it draws on standard error, so that standard output stays clean."""
    from tutelage.experiments.run import unwatched

    if quiet:
        yield unwatched
    elif sys.stderr.isatty():
        yield from _drawn(request)
    else:
        yield from _plain(request)


def _drawn(request: Any) -> Iterator[Watch]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("seed {task.fields[seed]}"),
        TextColumn("[bold]{task.fields[arm]}[/bold] {task.fields[step]}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars: dict[tuple[int, str, str], TaskID] = {}
        shown: dict[int, TaskID] = {}

        def watch(seed: int, arm: str, step: str, done: int, total: int) -> None:
            key = (seed, arm, step)
            if key not in bars:
                if seed in shown:
                    progress.update(shown[seed], visible=False)
                bars[key] = shown[seed] = progress.add_task("", total=total or None, seed=seed, arm=arm, step=step, rate="")
            task = progress.tasks[bars[key]]
            rate = f"{task.speed:,.0f}/s" if task.speed else ""
            progress.update(bars[key], completed=done, total=total or None, rate=rate)

        yield watch


def _plain(request: Any) -> Iterator[Watch]:
    started = time.monotonic()
    last: dict[int, tuple[float, str]] = {}

    def watch(seed: int, arm: str, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        said_at, said_arm = last.get(seed, (-PLAIN_EVERY_S, ""))
        if arm != said_arm or now - said_at >= PLAIN_EVERY_S:
            last[seed] = (now, arm)
            print(f"[{now - started:5.0f} s] seed {seed}, {arm}: {step} {done}/{total}", file=sys.stderr, flush=True)

    yield watch
