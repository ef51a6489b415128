"""Seeds of run folders in a process of their own: `python -m tutelage.experiments.worker JOBS`, jobs as JSON.

Speaks JSON lines on standard output: progress, then the result or the error. Standard input carries nothing; its end means that the
parent is gone, and this process stops at once (what is committed stays, the rest is asked again).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import TutelageError
from tutelage.experiments.processes import Job
from tutelage.experiments.run import request_of, run_seed

PROGRESS_EVERY_S = 0.1


def _say(row: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    # Not through sys.stdin: a thread blocked in a buffered read breaks the interpreter's own way out.
    while os.read(0, 1024):
        pass
    os._exit(1)


def main() -> int:
    asked = orjson.loads(sys.argv[1])
    jobs = [Job(**given | {"folder": Path(given["folder"])}) for given in asked["jobs"]]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = 0
    for number, job in enumerate(jobs):
        error = _do(number, job)
        if error is not None:
            got = None if error.got is None else str(error.got)
            _say({"job": number, "error": type(error).__name__, "message": error.message, "got": got, "fix": error.fix})
            code = error.exit_code
            if not asked["go_on"]:
                break
    return code


def _do(number: int, job: Job) -> TutelageError | None:
    """One job; what ended it early, where that is an error of ours."""
    last = {"at_s": 0.0, "step": ""}

    def watch(seed: int, arm: str, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if step != last["step"] or done >= total or now - float(last["at_s"]) > PROGRESS_EVERY_S:
            last.update(at_s=now, step=step)
            _say({"job": number, "arm": arm, "step": step, "done": done, "total": total})

    try:
        request = request_of(job.folder)
        _say({"job": number, **run_seed(request, job.folder, job.seed, budget=job.budget, cap=job.cap, watch=watch)})
    except TutelageError as error:
        return error
    except BaseException:
        (job.folder / "seeds" / str(job.seed)).mkdir(parents=True, exist_ok=True)
        (job.folder / "seeds" / str(job.seed) / "crash.txt").write_text(traceback.format_exc())
        raise
    return None


if __name__ == "__main__":
    sys.exit(main())
