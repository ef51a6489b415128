"""Resume is replay: a run that is killed again and again ends as one that was left alone, to the last bit."""

import os
import random
import signal

import orjson
import pytest

import forked
from tutelage.journal.folder import ArmJournal
from tutelage.records import decode

pytestmark = pytest.mark.xdist_group("recipes")

# Runs the main arm of ARTE and kills itself, as hard as the system allows, at the n-th sign of progress (0: never).
PROGRAM = """
import os, signal, sys
from pathlib import Path
from tutelage.experiments.request import resolve_request
from tutelage.experiments.run import run_request
from tutelage.journal.ledger import Ledger

folder, last = Path(sys.argv[1]), int(sys.argv[2])
seen = 0

def watch(*_):
    global seen
    seen += 1
    if seen == last:
        os.kill(os.getpid(), signal.SIGKILL)

request = resolve_request(
    "arte", task="folds/msum", teacher="bundled:teacher", student="bundled:student", arms=("arte",), seeds=(0,), preset="toy",
    task_options={"test_size": 5},
)
outcome = run_request(request, out=folder / "run", jobs=1, watch=watch)
with Ledger(folder / "run" / "ledger.sqlite") as ledger:
    print(seen, outcome.calls, outcome.fits, ledger.physical().calls)
"""


def attempt(folder, last):
    environment = {**os.environ, "TUTELAGE_CACHE": str(folder / "cache.sqlite")}
    done = forked.run("-c", PROGRAM, folder, last, env=environment)
    if last == 0:
        assert done.returncode == 0, done.stderr
        return [int(n) for n in done.stdout.split()]
    assert done.returncode == -signal.SIGKILL, (done.returncode, done.stdout, done.stderr)
    return None


def whole(folder):
    """Reads every file that has its real name."""
    for path in folder.rglob("*.json"):
        orjson.loads(path.read_bytes())
    for path in folder.rglob("records/*.jsonl"):
        for line in path.read_bytes().splitlines():
            decode(line)


@pytest.mark.timeout(1200)  # six processes, five of them with work to do
def test_a_run_killed_at_seeded_moments_ends_as_one_left_alone(tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    alone.mkdir(), killed.mkdir()
    signs, calls, fits, physical = attempt(alone, 0)
    assert calls == physical > 0
    assert fits == 2
    for last in sorted(random.Random(2).sample(range(1, signs), 3)):
        attempt(killed, last)
        whole(killed / "run")
        assert not ArmJournal(killed / "run" / "seeds" / "0" / "arte").done()
    _, _, _, in_all = attempt(killed, 0)
    assert in_all <= physical, "what was committed before a kill is not asked for again"

    one, other = (ArmJournal(f / "run" / "seeds" / "0" / "arte") for f in (alone, killed))
    kept = [e["name"] for e in one.events() if e["event"] == "keep"]
    assert kept == [e["name"] for e in other.events() if e["event"] == "keep"]
    for name in kept:
        file = f"records/{name}.jsonl"
        assert (one.folder / file).read_bytes() == (other.folder / file).read_bytes(), name
    digests = [sorted(orjson.loads(p.read_bytes())["digest"] for p in (f / "run" / "fits").glob("*/fit.json")) for f in (alone, killed)]
    assert digests[0] == digests[1]
    assert not list((killed / "run").rglob("*.part"))
    assert attempt(killed, 0)[1:3] == [0, 0]
