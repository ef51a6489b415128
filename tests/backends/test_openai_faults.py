"""Nothing paid is lost: faults, kills, budgets, replay, keys. Scaled down; `benchmarks/endpoint_faults.py` has the full sizes."""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from servers.endpoints import DRAWN, GREEDY, Place, questions
from servers.running import Stub
from tutelage import backends
from tutelage.backends.asks import Draw, Patience
from tutelage.backends.pacing import Bucket, Pace, Rates, backoff_s
from tutelage.backends.wrappers import Cached
from tutelage.capabilities import Completion, Sampling
from tutelage.errors import BudgetExhausted, EndpointError, SettingsError, StorageError
from tutelage.journal.amounts import NOTHING, Budget
from tutelage.journal.cache import CallCache
from tutelage.journal.export import export_cache, import_cache
from tutelage.journal.ledger import Ledger
from tutelage.records import Prompt

FAULTS = {
    "rate_429": 0.10, "retry_after": "0.01", "rate_500": 0.10, "rate_truncated": 0.05,
    "rate_malformed": 0.02, "rate_reset": 0.01, "latency_s": 0.002, "latency": "exponential", "seed": 1,
}  # fmt: skip
PATIENT = {"timeout_s": 120.0, "concurrency": 32, "attempts": 30}
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from servers.endpoints import GREEDY, Place, questions
with Place(Path(sys.argv[2]), sys.argv[3], concurrency=16, start=16) as place:
    place.role.generate(questions(int(sys.argv[4])), GREEDY)
"""
TESTS = str(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def right():
    """What an undisturbed run says."""
    with Stub() as stub, tempfile.TemporaryDirectory() as folder, Place(Path(folder), stub.name()) as place:
        return place.role.generate(questions(400), GREEDY)


def test_through_all_faults_every_row_comes_once_and_the_books_agree(tmp_path, right):
    with Stub(**FAULTS) as stub, Place(tmp_path, stub.name(), **PATIENT) as place:
        assert place.role.generate(questions(400), GREEDY) == right
        bill = stub.bill()
        settled, doubt = place.ledger.physical(), place.ledger.in_doubt()
        assert len(place.cache) == settled.calls == bill["delivered"] == 400
        assert bill["answered_again"] == 0
        assert settled.tokens == bill["delivered_tokens"]
        assert settled.calls + doubt.calls >= bill["whole"] > 400
        assert settled.tokens + doubt.tokens >= bill["whole_tokens"]
        assert bill["requests"] - 400 <= 1.5 * (bill["requests"] - bill["delivered"])
        assert place.ledger.charged() == settled + doubt


def test_stalled_requests_are_given_up_asked_again_and_in_doubt(tmp_path, right):
    with Stub(rate_stall=0.2, stall_s=600.0, seed=3) as stub, Place(tmp_path, stub.name(), timeout_s=1.5, attempts=100) as place:
        assert place.role.generate(questions(20), GREEDY) == right[:20]
        bill, settled, doubt = stub.bill(), place.ledger.physical(), place.ledger.in_doubt()
        assert settled.calls == len(place.cache) == 20
        assert doubt.calls == bill["requests"] - 20 > 0
        # On a very slow machine an answer may come after it was given up: the server then says delivered, and we say in doubt.
        assert settled.tokens <= bill["delivered_tokens"]
        assert settled.tokens + doubt.tokens >= bill["whole_tokens"]


def test_usage_that_nobody_can_read_is_in_doubt_and_the_answers_stay(tmp_path, right):
    with Stub(rate_usage=0.3, seed=2) as stub, Place(tmp_path, stub.name()) as place:
        said = place.role.generate(questions(100), GREEDY)
        assert [row[0].text for row in said] == [row[0].text for row in right[:100]]
        settled, doubt = place.ledger.physical(), place.ledger.in_doubt()
        assert stub.bill()["requests"] == 100
        assert settled.calls + doubt.calls == 100
        assert doubt.calls == sum(row[0].prompt_tokens == 0 for row in said) > 10
        assert settled.tokens + doubt.tokens >= stub.bill()["whole_tokens"]


def test_a_killed_run_asks_for_no_committed_answer_again(tmp_path, right):
    rng = random.Random(7)
    with Stub(latency_s=0.02, latency="exponential") as stub:
        for _ in range(4):
            before = _rows(tmp_path)
            process = subprocess.Popen([sys.executable, "-c", PROGRAM, TESTS, str(tmp_path), stub.name(), "400"])
            wanted = before + rng.randrange(20, 70)
            while process.poll() is None and _rows(tmp_path) < wanted:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
        with Place(tmp_path, stub.name(), concurrency=16) as place:
            kept = len(place.cache)
            assert 80 <= kept < 400
            assert place.ledger.in_doubt().calls <= 4 * 16
            assert place.role.generate(questions(400), GREEDY) == right
            bill = stub.bill()
            assert bill["delivered"] == len(place.cache) + bill["answered_again"]
            assert bill["answered_again"] <= 4 * 16
            settled, doubt = place.ledger.physical(), place.ledger.in_doubt()
            assert settled.tokens + doubt.tokens >= bill["whole_tokens"]


def _rows(folder):
    path = folder / "cache.sqlite"
    if not path.exists():
        return 0
    try:
        with CallCache(path) as cache:
            return len(cache)
    except StorageError:
        return 0


def test_ctrl_c_keeps_what_was_answered_and_can_be_continued(tmp_path, right):
    program = PROGRAM.replace("with Place", "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nwith Place")
    with Stub(latency_s=0.02) as stub:
        process = subprocess.Popen([sys.executable, "-c", program, TESTS, str(tmp_path), stub.name(), "400"], stderr=subprocess.PIPE)
        while _rows(tmp_path) < 40:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        assert process.returncode != 0
        assert b"KeyboardInterrupt" in said
        with Place(tmp_path, stub.name()) as place:
            settled, doubt = place.ledger.physical(), place.ledger.in_doubt()
            # The signal may fall between keeping an answer and settling its bill; it is in doubt then.
            assert settled.calls <= len(place.cache) <= settled.calls + doubt.calls
            assert len(place.cache) >= 40
            assert doubt.calls <= 16
            assert place.role.generate(questions(400), GREEDY) == right


def attempt(place, asked):
    try:
        return place.role.generate(asked, GREEDY), ""
    except BudgetExhausted as error:
        return None, str(error)


def test_random_budgets_are_never_exceeded_and_raising_one_ends_the_same(tmp_path, right):
    rng = random.Random(11)
    asked = questions(30)
    with Stub(rate_reset=0.05, rate_500=0.05, rate_truncated=0.05) as stub:
        for number in range(12):
            folder = tmp_path / str(number)
            calls, tokens = rng.randrange(1, 40), rng.randrange(100, 4_000)
            stub.reset()
            while True:
                budget = Budget(calls=calls, tokens=tokens)
                with Place(folder, stub.name(), budget=budget) as place:
                    said, words = attempt(place, asked)
                    charged, bill = place.ledger.charged(), stub.bill()
                    assert bill["whole"] <= charged.calls <= calls
                    assert bill["whole_tokens"] <= charged.tokens <= tokens
                if said is not None:
                    assert said == right[:30]
                    break
                assert re.search(r"[\d,]+ of \d+ answers missing", words)
                assert "continues" in words
                calls, tokens = calls + rng.randrange(1, 20), tokens + rng.randrange(200, 3_000)
            assert stub.bill()["answered_again"] == 0


def test_money_is_capped_at_the_list_price_of_the_worst_case(tmp_path, monkeypatch):
    prices = tmp_path / "prices.toml"
    prices.write_text('[models."stub-model"]\ninput = "1.00"\ncached = "0.10"\noutput = "10.00"\nas_of = "2026-01-01"\n')
    monkeypatch.setenv("TUTELAGE_PRICES", str(prices))
    with Stub(cached_tokens=2) as stub:
        with Place(tmp_path / "a", stub.name()) as place:
            place.role.generate(questions(10), GREEDY)
            assert place.ledger.physical().usd == pytest.approx(10 * (3 * 1.0 + 2 * 0.1 + 8 * 10.0) / 1e6)
        with Place(tmp_path / "b", stub.name(), budget=Budget.parse("usd=0.001")) as place:
            with pytest.raises(BudgetExhausted, match=r"budget usd=0\.001"):
                place.role.generate(questions(30), GREEDY)
            assert 0.0007 < place.ledger.physical().usd <= 0.001
            assert place.ledger.charged().usd <= 0.001


def test_a_budget_in_money_needs_a_price(tmp_path):
    with pytest.raises(SettingsError, match="TUTELAGE_PRICES"):
        Place(tmp_path, "openai:nobody-knows-me@https://host.example/v1", budget=Budget(picodollars=1))


def test_replay_from_an_export_needs_no_endpoint(tmp_path, right):
    with Stub() as stub, Place(tmp_path / "a", stub.name()) as place:
        said = place.role.generate(questions(20), DRAWN), place.role.generate(questions(20), GREEDY), place.role.embed(["x"])
        name = stub.name()
        export_cache(place.cache, tmp_path / "all.jsonl")
    with Place(tmp_path / "b", name) as place:
        assert import_cache(place.cache, tmp_path / "all.jsonl") == (81, 0)
        again = place.role.generate(questions(20), DRAWN), place.role.generate(questions(20), GREEDY), place.role.embed(["x"])
        assert again == said
        assert not place.role.opened
        assert place.ledger.physical() == NOTHING
        assert place.ledger.logical().calls == 81


def test_an_export_plays_back_as_a_model_of_its_own(tmp_path):
    with Stub() as stub, Place(tmp_path, stub.name()) as place:
        asked = [questions(10), DRAWN], [questions(10), GREEDY], [[Prompt.user("[[think]] x")], GREEDY]
        said = [place.role.generate(*one) for one in asked]
        place.role.embed(["x"])
        export_cache(place.cache, tmp_path / "all.jsonl")
    player = backends.open_backend(backends.resolve(f"recorded:{tmp_path / 'all.jsonl'}"))
    assert [player.generate(*one) for one in asked] == said


SECRET = "sk-Zq81xVnotToBeSeen4471"
LOGGED = """
import logging, sys, traceback
logging.basicConfig(level=logging.DEBUG, filename=sys.argv[2] + "/debug.log")
def tell(kind, error, trace):
    print(repr(error), vars(error))
    for frame, _ in traceback.walk_tb(trace):
        print({name: repr(value) for name, value in frame.f_locals.items() if name != "os"})
    traceback.print_exception(error)
sys.excepthook = tell
"""


@pytest.mark.parametrize("works", [True, False])
def test_the_key_is_nowhere(tmp_path, works):
    program = LOGGED + PROGRAM
    folder = tmp_path / "run"
    folder.mkdir()
    with Stub(key=SECRET if works else "another") as stub:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "ignore", "-c", program, TESTS, str(folder), stub.name(), "20"],
            capture_output=True, check=False, env=os.environ | {"TUTELAGE_API_KEY": SECRET, "PYTHONASYNCIODEBUG": "1"},
        )  # fmt: skip
    assert (done.returncode == 0) is works, done.stderr.decode()
    if not works:
        assert b"Incorrect API key provided: [key]" in done.stderr
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert any(p.name == "cache.sqlite" for p in files)
    for name, content in [("stdout", done.stdout), ("stderr", done.stderr)] + [(p.name, p.read_bytes()) for p in files]:
        assert SECRET.encode() not in content, name
    if works:
        with CallCache(folder / "cache.sqlite") as cache:
            assert all(SECRET.encode() not in body for _, body, _ in cache.rows())
            export_cache(cache, folder / "all.jsonl")
        assert SECRET.encode() not in (folder / "all.jsonl").read_bytes()


def test_concurrency_halves_under_pressure_and_the_rows_all_come(tmp_path, right):
    with Stub(latency_s=0.005, most_at_once=6) as stub, Place(tmp_path, stub.name(), start=64, concurrency=64) as place:
        assert place.role.generate(questions(300), GREEDY) == right[:300]
        assert place.role.backend.pace.limit <= 16
        assert stub.bill()["statuses"]["429"] < 300


def test_a_full_disk_says_so_and_counts_what_was_under_way_as_doubtful(tmp_path):
    with Stub() as stub, Place(tmp_path, stub.name()) as place:
        place.role.generate(questions(20), GREEDY)
        place.cache.close()
        place.role._cache = place.cache = CallCache(tmp_path / "cache.sqlite", max_bytes=100_000)
        with pytest.raises(StorageError, match="no space left"):
            place.role.generate(questions(3_000), GREEDY)
        held, bill = len(place.cache), stub.bill()
        assert held > 20
    with Place(tmp_path, stub.name()) as place:
        settled, doubt = place.ledger.physical(), place.ledger.in_doubt()
        assert settled.calls == len(place.cache) == held
        assert 0 < doubt.calls <= 512
        assert settled.calls + doubt.calls >= bill["whole"]


def test_a_silent_endpoint_is_given_up(tmp_path):
    with Stub(rate_429=1.0) as stub, Place(tmp_path, stub.name()) as place:
        place.role.backend.patience = Patience(first_wait_s=0.005, silence_s=0.05)
        with pytest.raises(EndpointError, match="answered nothing"):
            place.role.generate(questions(3), GREEDY)
        assert place.ledger.physical().calls == len(place.cache) == 0
        assert place.ledger.in_doubt().calls <= 3


def test_the_other_process_that_was_first_is_believed(tmp_path):
    """Two processes ask the same question; the second gets the first one's answer, as a replay would."""
    with Stub() as stub, Place(tmp_path, stub.name()) as place, CallCache(tmp_path / "cache.sqlite") as other:

        class Hasty:
            def __call__(self):
                role = Cached(lambda: backend, place.ref, cache=other, ledger=Ledger(None), role="teacher")
                backend = Elsewhere()
                role.generate(questions(1), GREEDY)
                return opened()

        class Elsewhere:
            def generate(self, prompts, sampling):
                return [[Completion(text="I was first")] for _ in prompts]

        opened, place.role._open_backend = place.role._open_backend, Hasty()
        assert place.role.generate(questions(1), GREEDY)[0][0].text == "I was first"


# Pacing, as arithmetic


def test_buckets_never_let_more_than_the_limit_through_in_any_minute():
    rng = random.Random(3)
    bucket, now_s, taken = Bucket(600.0), 0.0, []
    while now_s < 300:
        amount = rng.choice([1.0, 5.0, 30.0])
        wait_s = bucket.wait_s(amount, now_s)
        if wait_s > 0:
            now_s += wait_s + 1e-9
        assert bucket.wait_s(amount, now_s) == pytest.approx(0, abs=1e-6)
        bucket.take(amount, now_s)
        taken.append((now_s, amount))
        now_s += rng.random() * 0.05
    for start_s, _ in taken:
        assert sum(a for t, a in taken if start_s <= t < start_s + 60) <= 600 + 1e-6
    assert sum(a for _, a in taken) > 0.8 * 600 * 5


def test_pace_doubles_then_adds_a_step_and_halves_once_per_round_trip():
    pace = Pace(most=16, start=4)
    for _ in range(4):
        pace.answered()
    assert pace.limit == 8
    pace.pushed_back(sent_s=1.0, now_s=2.0)
    pace.pushed_back(sent_s=1.5, now_s=2.1)
    assert pace.limit == 4
    for _ in range(4):
        pace.answered()
    assert pace.limit == 4
    pace.answered()
    assert pace.limit == 5
    pace.pushed_back(sent_s=2.5, now_s=3.0, wait_s=7.0)
    assert pace.limit == 2
    assert pace.held_s(4.0) == pytest.approx(6.0)
    for n in range(20):
        pace.pushed_back(sent_s=10.0 + n, now_s=10.5 + n)
    assert pace.limit == 1
    for _ in range(10_000):
        pace.answered()
    assert pace.limit == 16


def test_failures_that_have_nothing_to_do_with_load_do_not_strangle_a_wide_endpoint():
    rng, pace, now_s, widths = random.Random(5), Pace(most=256, start=32), 0.0, []
    for _ in range(2_000):
        sent_s, now_s = now_s, now_s + 1.0
        for _ in range(pace.limit):
            if rng.random() < 0.1:
                pace.pushed_back(sent_s, now_s)
            else:
                pace.answered()
        widths.append(pace.limit)
    assert sum(widths) / len(widths) > 10


def test_rate_limits_use_the_bill_once_it_is_known():
    pace = Pace(most=10, start=10, rates=Rates(prompt_tokens=600.0, completion_tokens=6_000.0))
    assert pace.wait_s(100, 100, 0.0) == 0.0
    pace.sent(100, 100, 0.0)
    for _ in range(9):
        pace.sent(10, 100, 0.0)
    assert pace.wait_s(100, 100, 0.0) > 0
    for _ in range(10):
        pace.billed(100, 100, 0, 1, 0.0)
    assert pace.wait_s(10, 100, 0.0) == 0.0


def test_backoff_doubles_spreads_and_is_bounded():
    rng = random.Random(0)
    for attempt in range(1, 20):
        waits = [backoff_s(attempt, first_s=0.5, most_s=30.0, rng=rng) for _ in range(200)]
        middle = min(30.0, 0.5 * 2 ** (attempt - 1))
        assert middle * 0.5 <= min(waits) < max(waits) <= middle * 1.5
        assert max(waits) - min(waits) > middle * 0.8


def test_rate_limits_hold_in_a_run(tmp_path):
    with Stub() as stub, Place(tmp_path, stub.name(), rpm=60_000, prompt_tpm=10_000_000, completion_tpm=10_000_000) as place:
        assert len(place.role.generate(questions(50), Sampling(max_tokens=12))) == 50
        assert place.ledger.physical().calls == 50


def test_worst_cases_are_upper_bounds(tmp_path):
    with Stub(answer_words=12) as stub, Place(tmp_path, stub.name()) as place:
        backend = place.role.backend
        for words in ("a", "a b c d e f g", "äöü 漢字 🙂", ""):
            asked = Sampling(max_tokens=12)
            prompt = questions(1, words)[0]
            ask = backend.ask_of(Draw(prompt=prompt, sampling=asked, index=0), (0,))
            place.role.generate([prompt], asked)
            spent = place.ledger.physical()
            assert spent.prompt_tokens <= ask.worst.prompt_tokens * spent.calls
            assert spent.completion_tokens <= ask.worst.completion_tokens * spent.calls
            assert ask.worst.calls == 1
