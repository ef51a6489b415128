"""Kill a run at random moments with SIGKILL, start it again, and compare what it leaves with a run that was left alone.

    python benchmarks/kill_and_resume.py [--kills 20] [--seed 0] [--arm arte] [--preset toy]

Moments are drawn uniformly over the time that the undisturbed run takes, process start included. A run that ends before its kill is
compared with the undisturbed one and begun anew, until the number of kills is reached. Prints one JSON object; exits with 1 where anything
differs: a scorecard or any other kept record, the digest of any weights, a file under its real name that cannot be read, or more
computed answers than in the undisturbed run (a committed answer would have been asked for again).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

from tutelage.journal.folder import ArmJournal
from tutelage.journal.ledger import Ledger
from tutelage.records import decode


def command(folder: Path, options: argparse.Namespace) -> list[str]:
    return [
        *(sys.executable, "-m", "tutelage", "run", "arte", "--task", options.task, "--teacher", "bundled:teacher"),
        *("--student", "bundled:student", "--preset", options.preset, "--arm", options.arm, "--jobs", "1"),
        *("--task-set", "test_size=10", "--out", str(folder / "run"), "--json"),
    ]


def start(folder: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TUTELAGE_CACHE": str(folder / "cache.sqlite"), "OMP_NUM_THREADS": "1"}
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        command(folder, options), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(child: subprocess.Popen[bytes]) -> None:
    _, said = child.communicate()
    if child.returncode != 0:
        sys.exit(f"the run failed with exit {child.returncode}:\n{said.decode()}")


def unreadable(run: Path) -> list[str]:
    """Files under their real names that are not whole."""
    broken = []
    for path in (*run.rglob("*.json"), *run.rglob("records/*.jsonl")):
        try:
            if path.suffix == ".json":
                orjson.loads(path.read_bytes())
            else:
                for line in path.read_bytes().splitlines():
                    decode(line)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            broken.append(f"{path.relative_to(run)}: {error}")
    return broken


def left_behind(run: Path, arm: str) -> dict[str, object]:
    """All that must not depend on whether and when a run was killed."""
    journal = ArmJournal(run / "seeds" / "0" / arm)
    names = [e["name"] for e in journal.events() if e["event"] == "keep"]
    return {
        "records": {name: (journal.folder / "records" / f"{name}.jsonl").read_bytes() for name in names},
        "weights": sorted(orjson.loads(p.read_bytes())["digest"] for p in run.glob("fits/*/fit.json")),
    }


def computed(run: Path) -> int:
    with Ledger(run / "ledger.sqlite") as ledger:
        return ledger.physical().calls


def differences(alone: Path, killed: Path, arm: str) -> list[str]:
    found = []
    one, other = left_behind(alone, arm), left_behind(killed, arm)
    found += [f"{part} differ" for part in one if one[part] != other[part]]
    if computed(killed) > computed(alone):
        found.append(f"{computed(killed)} answers were computed, {computed(alone)} without kills")
    return found + unreadable(killed)


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--kills", type=int, default=20)
    reader.add_argument("--seed", type=int, default=0, help="of the moments")
    reader.add_argument("--task", default="folds/msum")
    reader.add_argument("--arm", default="arte")
    reader.add_argument("--preset", default="toy")
    options = reader.parse_args()
    rng = random.Random(options.seed)
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        alone, place = Path(scratch) / "alone", Path(scratch) / "killed"
        began = time.monotonic()
        finish(start(alone, options))
        length_s = time.monotonic() - began
        kills = finished = parts = 0
        moments: list[float] = []
        while kills < options.kills:
            child = start(place, options)
            moment = rng.uniform(0, length_s)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=moment)
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
                kills += 1
                moments.append(round(moment, 2))
                if (place / "run").exists():
                    problems += unreadable(place / "run")
                    parts += len(list((place / "run").rglob("*.part")))
                print(f"kill {kills} after {moment:.1f} s", file=sys.stderr, flush=True)
            else:
                finish(child)
                finished += 1
                problems += differences(alone / "run", place / "run", options.arm)
                shutil.rmtree(place)
        finish(start(place, options))
        finished += 1
        problems += differences(alone / "run", place / "run", options.arm)
        found = {
            "kills": kills,
            "moments_s": moments,
            "undisturbed_s": round(length_s, 2),
            "runs_that_came_to_an_end": finished,
            "part_files_left_by_kills": parts,
            "answers_computed_undisturbed": computed(alone / "run"),
            "answers_computed_by_the_last_run": computed(place / "run"),
            "problems": problems,
        }
    print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
