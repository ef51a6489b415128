"""Some seeds of a run in a process of their own: `python -m tutelage.experiments.worker FOLDER SEED,SEED,... [BUDGET]`.

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
    folder, seeds = Path(sys.argv[1]), [int(s) for s in sys.argv[2].split(",")]
    budget = sys.argv[3] if len(sys.argv) > 3 else None
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    last = {"at_s": 0.0, "step": ""}

    def watch(seed: int, arm: str, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if step != last["step"] or done >= total or now - float(last["at_s"]) > PROGRESS_EVERY_S:
            last.update(at_s=now, step=step)
            _say({"seed": seed, "arm": arm, "step": step, "done": done, "total": total})

    seed = seeds[0]
    try:
        request = request_of(folder)
        for seed in seeds:
            _say({"seed": seed, **run_seed(request, folder, seed, budget=budget, watch=watch)})
    except TutelageError as error:
        got = None if error.got is None else str(error.got)
        _say({"seed": seed, "error": type(error).__name__, "message": error.message, "got": got, "fix": error.fix})
        return error.exit_code
    except BaseException:
        (folder / "seeds" / str(seed)).mkdir(parents=True, exist_ok=True)
        (folder / "seeds" / str(seed) / "crash.txt").write_text(traceback.format_exc())
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
