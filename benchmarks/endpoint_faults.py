"""Nothing paid is lost: the endpoint client through faults, kills, budgets and replay, at full size.

    python benchmarks/endpoint_faults.py                # all of it, tens of minutes
    python benchmarks/endpoint_faults.py --only faults

The tests of the suite are the same checks, scaled down. Everything talks to a stub server on 127.0.0.1.

faults   10,000 rows through 10 % 429 with Retry-After, 10 % 500, 5 % stalls, 5 % truncated JSON, 1 % resets: none lost, none twice,
         settled tokens equal the server's bill for delivered answers, settled + in doubt cover its whole bill, wasted calls at most
         1.5 x the unavoidable ones (those that the server itself spoilt)
kills    such a run is killed with SIGKILL at 50 random moments and started again: no committed answer is asked for again, the data equal
         those of an undisturbed run, one more row of input costs one row's calls
budgets  100 random budgets: never exceeded; raised until the run is done, the data equal those of one big budget
replay   an exported cache answers the whole run with the server gone, bit for bit
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
sys.path.insert(0, str(TESTS))

from servers.endpoints import GREEDY, Place, questions  # noqa: E402
from servers.running import Stub  # noqa: E402
from tutelage.capabilities import Completion  # noqa: E402
from tutelage.errors import BudgetExhausted, StorageError  # noqa: E402
from tutelage.journal.amounts import NOTHING, Budget  # noqa: E402
from tutelage.journal.cache import CallCache  # noqa: E402
from tutelage.journal.export import export_cache, import_cache  # noqa: E402

FAULTS: dict[str, Any] = {
    "rate_429": 0.10, "retry_after": "0.02", "rate_500": 0.10, "rate_stall": 0.05, "stall_s": 600.0, "rate_truncated": 0.05,
    "rate_reset": 0.01, "latency_s": 0.01, "latency": "exponential",
}  # fmt: skip
PATIENT: dict[str, Any] = {"timeout_s": 3.0, "concurrency": 256, "attempts": 30}
"""The wait tells a stall from an answer. On a busy machine an answer may come later than that: it is then the server's delivered, and our
doubtful one, and the check of exact equality misses."""
PROGRAM = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from servers.endpoints import GREEDY, Place, questions
with Place(Path(sys.argv[1]), sys.argv[2], **{PATIENT!r}) as place:
    place.role.generate(questions(int(sys.argv[3])), GREEDY)
"""


class Checks:
    """What held and what did not; a check that fails does not stop the others."""

    def __init__(self) -> None:
        self.missed = 0

    def __call__(self, holds: bool, words: str) -> None:
        print(f"  {'ok    ' if holds else 'MISSED'} {words}", flush=True)
        self.missed += not holds


def undisturbed(rows: int) -> list[list[Completion]]:
    with Stub() as stub, tempfile.TemporaryDirectory() as folder, Place(Path(folder), stub.name()) as place:
        return place.role.generate(questions(rows), GREEDY)


def faults(check: Checks, args: argparse.Namespace) -> None:
    print(f"faults: {args.rows:,} rows")
    right = undisturbed(args.rows)
    with (
        tempfile.TemporaryDirectory() as folder,
        Stub(seed=args.seed, **FAULTS) as stub,
        Place(Path(folder), stub.name(), **PATIENT) as place,
    ):
        began_s = time.perf_counter()
        said = place.role.generate(questions(args.rows), GREEDY)
        elapsed_s = time.perf_counter() - began_s
        bill, settled, doubt = stub.bill(), place.ledger.physical(), place.ledger.in_doubt()
        kept = len(place.cache)
    wasted, unavoidable = bill["requests"] - args.rows, bill["requests"] - bill["delivered"]
    print(f"  {elapsed_s:.0f} s, {bill['requests']:,} requests, statuses {bill['statuses']}, most at once {bill['peak']}")
    print(f"  settled {settled.calls:,} calls, {settled.tokens:,} tokens; in doubt {doubt.calls:,} calls, {doubt.tokens:,} tokens")
    check(said == right, "every row there, equal to an undisturbed run's")
    check(
        kept == args.rows == bill["delivered"] and bill["answered_again"] == 0,
        f"none lost, none twice: {kept:,} rows, {bill['delivered']:,} delivered",
    )
    check(settled.tokens == bill["delivered_tokens"], f"settled tokens are the bill for delivered answers: {bill['delivered_tokens']:,}")
    check(
        settled.tokens + doubt.tokens >= bill["whole_tokens"], f"settled and doubtful tokens cover the whole bill: {bill['whole_tokens']:,}"
    )
    check(settled.calls + doubt.calls >= bill["whole"], f"so do the calls: {bill['whole']:,}")
    check(wasted <= 1.5 * unavoidable, f"wasted calls {wasted:,}, unavoidable {unavoidable:,}")


def kills(check: Checks, args: argparse.Namespace) -> None:
    print(f"kills: {args.kills} in a run of {args.rows:,} rows")
    right = undisturbed(args.rows)
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name, Stub(seed=args.seed, **FAULTS) as stub:
        folder = Path(name)
        program = [sys.executable, "-c", PROGRAM, name, stub.name(), str(args.rows)]
        for number in range(args.kills):
            before = rows_in(folder)
            # Kills spread over the whole run, and at a random moment after the row count was seen.
            wanted = min(args.rows - 1, before + rng.randrange(1, max(2, 2 * (args.rows - before) // (args.kills - number + 1))))
            process = subprocess.Popen(program)
            while process.poll() is None and rows_in(folder) < wanted:
                time.sleep(0.01)
            time.sleep(rng.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
        kept = rows_in(folder)
        at_kill = stub.bill()
        with Place(folder, stub.name(), **PATIENT) as place:
            said = place.role.generate(questions(args.rows), GREEDY)
            bill, settled, doubt = stub.bill(), place.ledger.physical(), place.ledger.in_doubt()
            lost = at_kill["delivered"] - kept
            check(said == right, "data equal to an undisturbed run's")
            check(lost <= args.kills * PATIENT["concurrency"], f"{kept:,} rows at the last kill; delivered and not committed: {lost:,}")
            check(bill["answered_again"] <= lost, f"answers asked for again: {bill['answered_again']:,}, all of them uncommitted ones")
            check(settled.tokens + doubt.tokens >= bill["whole_tokens"], "settled and doubtful tokens cover the whole bill")
        stub.set(**{key: 0.0 for key in FAULTS if key.startswith("rate_")})
        before = stub.bill()["requests"]
        with Place(folder, stub.name(), **PATIENT) as place:
            more = place.role.generate(questions(args.rows + 1), GREEDY)
            check(more[:-1] == right and stub.bill()["requests"] == before + 1, "one more row costs one call")
        with Place(folder, stub.name(), **PATIENT) as place:
            place.role.generate(questions(args.rows + 1), GREEDY)
            check(not place.role.opened, "a finished run asks nothing")


def rows_in(folder: Path) -> int:
    with contextlib.suppress(StorageError):
        if (folder / "cache.sqlite").exists():
            with CallCache(folder / "cache.sqlite") as cache:
                return len(cache)
    return 0


def budgets(check: Checks, args: argparse.Namespace) -> None:
    print(f"budgets: {args.budgets} random ones")
    right = undisturbed(40)
    rng = random.Random(args.seed)
    exceeded = unequal = again = stops = 0
    quick = {key: value for key, value in FAULTS.items() if key not in ("rate_stall", "latency_s")}
    with Stub(seed=args.seed, **quick) as stub, tempfile.TemporaryDirectory() as name:
        for number in range(args.budgets):
            folder, said = Path(name) / str(number), None
            calls, tokens = rng.randrange(0, 60), rng.randrange(0, 6_000)
            stub.reset()
            while said is None:
                with Place(folder, stub.name(), budget=Budget(calls=calls, tokens=tokens), attempts=30) as place:
                    with contextlib.suppress(BudgetExhausted):
                        said = place.role.generate(questions(40), GREEDY)
                    charged, bill = place.ledger.charged(), stub.bill()
                    exceeded += not (bill["whole"] <= charged.calls <= calls and bill["whole_tokens"] <= charged.tokens <= tokens)
                if said is None:
                    stops += 1
                    calls, tokens = calls + rng.randrange(1, 30), tokens + rng.randrange(1, 5_000)
            unequal += said != right
            again += stub.bill()["answered_again"]
    check(exceeded == 0, f"never exceeded, in {args.budgets + stops} attempts of {args.budgets} runs")
    check(unequal == 0, "continued after raising: same result as one big budget")
    check(again == 0, "no delivered answer asked for again")


def replay(check: Checks, args: argparse.Namespace) -> None:
    print(f"replay: {args.rows:,} rows")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Stub() as stub, Place(folder / "a", stub.name()) as place:
            said, model = place.role.generate(questions(args.rows), GREEDY), stub.name()
            for suffix in ("jsonl", "parquet"):
                export_cache(place.cache, folder / f"all.{suffix}")
            bodies = {key: body for key, body, _ in place.cache.rows()}
        for suffix in ("jsonl", "parquet"):
            with Place(folder / suffix, model) as place:
                import_cache(place.cache, folder / f"all.{suffix}")
                same = place.role.generate(questions(args.rows), GREEDY) == said
                check(same and not place.role.opened and place.ledger.physical() == NOTHING, f"{suffix}: same answers with the server gone")
                check(
                    {key: body for key, body, _ in place.cache.rows()} == bodies,
                    f"{suffix}: same bytes ({(folder / f'all.{suffix}').stat().st_size:,})",
                )


PARTS = {"faults": faults, "kills": kills, "budgets": budgets, "replay": replay}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(PARTS))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--budgets", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ.pop("TUTELAGE_API_KEY", None)
    check = Checks()
    for name, part in PARTS.items():
        if args.only in (None, name):
            part(check, args)
    print("all checks hold" if not check.missed else f"{check.missed} checks missed")
    sys.exit(1 if check.missed else 0)


if __name__ == "__main__":
    main()
