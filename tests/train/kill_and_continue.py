"""Run as a script: kills fits at random steps and continues them; prints one line of JSON.

Children are forked from a parent that has imported everything and computed nothing, so that three deaths of four kinds cost the imports
once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from fits import KINDS, STEPS, go

from tutelage.seeds import stream
from tutelage.train import FitSettings
from tutelage.train.opening import open_student

DEATHS = 3


def in_child(work: Callable[[], object]) -> int:
    """The wait status of a forked process that does the work."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  a forked child must never run into the parent's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def die_after(step: int) -> Callable[[int, int, float], None]:
    def progress(done: int, total: int, loss: float) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def note_first(file: Path) -> Callable[[int, int, float], None]:
    def progress(done: int, total: int, loss: float) -> None:
        if not file.exists():
            file.write_text(str(done))

    return progress


def main(student: Path, teacher: Path, work: Path) -> None:
    open_student(student, FitSettings(lr=1.0), device=torch.device("cpu"))
    found: dict[str, list[object]] = {}
    for kind in KINDS:
        plain = work / kind / "plain"
        assert in_child(lambda k=kind, p=plain: go(k, student, teacher, p)) == 0
        whole = (plain / "model.safetensors").read_bytes()
        places = sorted(stream(11, "deaths", kind).sample(range(2, STEPS), DEATHS))
        results: list[object] = []
        for place in places:
            out, state = work / kind / f"out-{place}", work / kind / f"state-{place}"
            status = in_child(lambda k=kind, o=out, s=state, p=place: go(k, student, teacher, o, checkpoint=s, progress=die_after(p)))
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            nothing = not out.exists()
            seen = work / kind / f"first-{place}"
            ended = in_child(lambda k=kind, o=out, s=state, f=seen: go(k, student, teacher, o, checkpoint=s, progress=note_first(f))) == 0
            same = ended and (out / "model.safetensors").read_bytes() == whole
            left = sorted(p.name for p in (work / kind).iterdir() if p.name.startswith("."))
            results.append([place, killed, nothing, int(seen.read_text()), same, left])
        found[kind] = results
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
