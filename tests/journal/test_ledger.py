import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import BudgetExhausted, SettingsError, StorageError
from tutelage.journal.amounts import NOTHING, Budget, Usage, total
from tutelage.journal.ledger import Ledger
from tutelage.journal.prices import PICODOLLARS, in_words, load_prices, usd_range

ONE = Usage(calls=1, prompt_tokens=10, completion_tokens=5, picodollars=1_000)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_budget_reads_what_it_describes():
    budget = Budget.parse("calls=5000, tokens=2M,usd=3.50,minutes=20")
    assert budget == Budget(calls=5000, tokens=2_000_000, picodollars=3_500_000_000_000, minutes=20.0)
    assert budget.describe() == "calls=5000,tokens=2000000,usd=3.5,minutes=20"
    assert Budget.parse(budget.describe()) == budget
    assert Budget.parse("calls=0").calls == 0
    assert not Budget.parse("calls=0").unlimited
    assert Budget().unlimited
    assert Budget().describe() == ""


@given(st.integers(0, 10**9), st.integers(0, 10**12))
def test_budget_round_trip(calls, cents):
    budget = Budget(calls=calls, picodollars=cents * PICODOLLARS // 100)
    assert Budget.parse(budget.describe()) == budget


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cals=5", "did you mean 'calls'"),
        ("calls", "no value"),
        ("calls=many", "not a number"),
        ("calls=-1", "negative"),
        ("calls=1.5", "whole"),
        ("usd=nan", "negative"),
        ("calls=1,calls=2", "twice"),
        ("", "empty"),
    ],
)
def test_budget_errors_say_what_and_how(text, says):
    with pytest.raises(SettingsError, match=says):
        Budget.parse(text)


def test_reserve_takes_the_longest_prefix_that_fits():
    ledger = Ledger(None, budget=Budget(calls=10, tokens=100))
    assert ledger.reserve("teacher", "a", [ONE] * 20) == 6
    assert ledger.charged().tokens == 90
    assert ledger.reserve("teacher", "a", [ONE]) == 0
    ledger.settle("teacher", "a", ONE.times(6), spent=Usage(calls=6, prompt_tokens=6))
    assert ledger.reserve("teacher", "a", [ONE] * 20) == 4
    ledger.settle("teacher", "a", ONE.times(4))
    assert ledger.charged() == Usage(calls=6, prompt_tokens=6)


def test_the_student_is_counted_and_never_capped():
    ledger = Ledger(None, budget=Budget(calls=1))
    assert ledger.reserve("student", "a", [ONE] * 5) == 5
    ledger.settle("student", "a", ONE.times(5), spent=ONE.times(5))
    assert ledger.physical(role="student").calls == 5
    assert ledger.reserve("teacher", "a", [ONE] * 2) == 1


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60), st.integers(0, 2)), max_size=60), st.integers(0, 30), st.integers(0, 600))
def test_no_order_of_reserving_and_settling_exceeds_the_budget(steps, calls, tokens):
    ledger = Ledger(None, budget=Budget(calls=calls, tokens=tokens))
    for worst_tokens, actual, outcome in steps:
        worst = Usage(calls=1, prompt_tokens=worst_tokens)
        if ledger.reserve("teacher", "a", [worst]):
            billed = Usage(calls=1, prompt_tokens=min(actual, worst_tokens))
            spent, doubt = [(billed, NOTHING), (NOTHING, worst), (NOTHING, NOTHING)][outcome]
            ledger.settle("teacher", "a", worst, spent=spent, in_doubt=doubt)
        charged = ledger.charged()
        assert charged.calls <= calls
        assert charged.tokens <= tokens
    assert ledger.charged() == ledger.physical() + ledger.in_doubt()
    ledger.close()


def test_doubt_is_apart_and_counts_against_the_budget():
    ledger = Ledger(None, budget=Budget(calls=2))
    assert ledger.reserve("teacher", "a", [ONE]) == 1
    ledger.settle("teacher", "a", ONE, in_doubt=ONE)
    assert ledger.physical() == NOTHING
    assert ledger.in_doubt() == ONE
    assert ledger.reserve("teacher", "a", [ONE] * 5) == 1
    error = ledger.exhausted("teacher", missing="4 of 5 answers", needed=ONE)
    assert isinstance(error, BudgetExhausted)
    assert error.exit_code == 3
    for words in ("budget calls=2 is used up", "4 of 5 answers missing", "in doubt: 1 call,", "larger --budget"):
        assert words in str(error)


def test_accounts_of_roles_and_arms_and_logical_against_physical():
    ledger = Ledger(None)
    ledger.count("teacher", "arte", ONE.times(3))
    ledger.count("teacher", "plain", ONE)
    ledger.reserve("teacher", "arte", [ONE])
    ledger.settle("teacher", "arte", ONE, spent=ONE)
    assert ledger.logical(role="teacher").calls == 4
    assert ledger.logical(arm="plain") == ONE
    assert ledger.physical(arm="plain") == NOTHING
    accounts = {(a["role"], a["arm"]): a for a in ledger.summary()["accounts"]}
    assert accounts["teacher", "arte"]["logical"]["calls"] == 3
    assert accounts["teacher", "arte"]["physical"]["calls"] == 1
    assert "physical" not in accounts["teacher", "plain"]


def test_training_is_charged_or_refused():
    ledger = Ledger(None, budget=Budget(tokens=1_000))
    ledger.spend("teacher", "arte", Usage(trained_tokens=900))
    assert ledger.physical().tokens == ledger.logical().tokens == 900
    with pytest.raises(BudgetExhausted):
        ledger.spend("teacher", "arte", Usage(trained_tokens=200))
    assert ledger.charged().tokens == 900


def test_a_continued_run_knows_what_was_spent(tmp_path):
    path = tmp_path / "run" / "ledger.sqlite"
    with Ledger(path, budget=Budget(calls=5)) as first:
        assert first.reserve("teacher", "a", [ONE] * 9) == 5
        first.settle("teacher", "a", ONE.times(5), spent=ONE.times(4), in_doubt=ONE)
    with Ledger(path, budget=Budget(calls=5)) as second:
        assert second.physical() == ONE.times(4)
        assert second.in_doubt() == ONE
        assert second.logical() == NOTHING
        assert second.reserve("teacher", "a", [ONE]) == 0
    with Ledger(path, budget=Budget(calls=7)) as third:
        assert third.reserve("teacher", "a", [ONE] * 9) == 2
    assert sorted(p.name for p in path.parent.iterdir()) == ["ledger.sqlite"]


def test_what_a_killed_process_had_sent_is_in_doubt(tmp_path):
    path = tmp_path / "ledger.sqlite"
    program = (
        "import sys, os, signal\n"
        "from tutelage.journal.amounts import Usage\n"
        "from tutelage.journal.ledger import Ledger\n"
        "ledger = Ledger(sys.argv[1])\n"
        "one = Usage(calls=1, prompt_tokens=10)\n"
        "ledger.reserve('teacher', 'a', [one] * 7)\n"
        "ledger.settle('teacher', 'a', one.times(3), spent=one.times(3))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    for _ in range(2):
        with Ledger(path) as ledger:
            assert ledger.physical() == Usage(calls=3, prompt_tokens=30)
            assert ledger.in_doubt() == Usage(calls=4, prompt_tokens=40)
    assert not list(tmp_path.glob("*.lock"))


def test_a_killed_process_leaves_no_lock_behind_for_long(tmp_path):
    path = tmp_path / "ledger.sqlite"
    program = (
        "import sys, os, signal\nfrom tutelage.journal.ledger import Ledger\nLedger(sys.argv[1])\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert len(list(tmp_path.glob("*.lock"))) == 1
    with Ledger(path), Ledger(path):
        assert len(list(tmp_path.glob("*.lock"))) == 2
    assert not list(tmp_path.glob("*.lock"))


def test_a_living_process_keeps_its_reservations(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, budget=Budget(calls=4)) as one, Ledger(path, budget=Budget(calls=4)) as two:
        assert one.reserve("teacher", "a", [ONE] * 3) == 3
        with Ledger(path) as onlooker:
            assert onlooker.in_doubt() == NOTHING
            assert onlooker.charged() == ONE.times(3)
        assert two.reserve("teacher", "b", [ONE] * 3) == 1


def test_processes_together_stay_within_one_budget(tmp_path):
    path = tmp_path / "ledger.sqlite"
    program = (
        "import sys\n"
        "from tutelage.journal.amounts import Budget, Usage\n"
        "from tutelage.journal.ledger import Ledger\n"
        "one = Usage(calls=1)\n"
        "with Ledger(sys.argv[1], budget=Budget(calls=100)) as ledger:\n"
        "    while ledger.reserve('teacher', sys.argv[2], [one]):\n"
        "        ledger.settle('teacher', sys.argv[2], one, spent=one)\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path), str(n)]) for n in range(3)]
    assert [p.wait() for p in processes] == [0, 0, 0]
    with Ledger(path) as ledger:
        assert ledger.physical().calls == 100


def test_minutes_count_time_at_work_once(tmp_path):
    path, clock = tmp_path / "ledger.sqlite", Clock()
    with Ledger(path, clock=clock) as one:
        clock.now_s = 60
        with Ledger(path, clock=clock) as two:
            clock.now_s = 120
            assert two.minutes() == pytest.approx(1)
        one.reserve("teacher", "a", [ONE])
        assert one.minutes() == pytest.approx(2)
    clock.now_s = 10_000
    with Ledger(path, clock=clock, budget=Budget(minutes=3)) as later:
        assert later.minutes() == pytest.approx(2)
        assert later.reserve("teacher", "a", [ONE]) == 1
        clock.now_s += 61
        assert later.reserve("teacher", "a", [ONE]) == 0


def test_damage_is_named(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(StorageError, match="ledger"):
        Ledger(path)


def test_prices_are_exact_and_the_users_come_first(tmp_path):
    own = tmp_path / "prices.toml"
    own.write_text('[models."gpt-4o"]\nalso = ["mine"]\ninput = "1"\noutput = "2"\n[models."local-*"]\ninput = 0\noutput = 0.000001\n')
    shipped, prices = load_prices(), load_prices(own)
    price = shipped.of("gpt-4o-mini")
    assert price is not None
    assert price.as_of.startswith("20")
    million = price.picodollars(prompt_tokens=1_000_000, completion_tokens=1_000_000, cached_prompt_tokens=500_000)
    assert Decimal(million) / PICODOLLARS == Decimal("0.15") / 2 + Decimal("0.075") / 2 + Decimal("0.60")
    assert prices.of("gpt-4o") == prices.of("mine") != shipped.of("gpt-4o") == shipped.of("gpt-4o-2024-08-06")
    local = prices.of("local-llama")
    assert local is not None
    assert local.output == 1
    assert prices.of("unheard-of") is None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("[models.x]\ninput = 1\n", "lacks 'output'"),
        ("[models.x]\ninput = -1\noutput = 1\n", "not negative"),
        ("[models.x]\ninput = 1\noutput = 1\ncashed = 1\n", "did you mean 'cached'"),
        ("[models.x]\ninput = 'free'\noutput = 1\n", "not a number"),
        ("[models.x]\nalso = 'y'\ninput = 1\noutput = 1\n", "not a list of model names"),
        ("models = [", "not TOML"),
    ],
)
def test_price_file_errors(tmp_path, body, says):
    path = tmp_path / "p.toml"
    path.write_text(body)
    with pytest.raises(SettingsError, match=says):
        load_prices(path)


def test_every_shipped_price_has_its_day_and_a_plausible_order():
    shipped = load_prices().models
    assert len(shipped) > 15
    for name, price in shipped.items():
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", price.as_of), name
        assert 0 < price.cached < price.input < price.output, name
        assert price.as_of in in_words(price)


def test_expected_money_is_a_range():
    price = load_prices().of("gpt-4o-mini")
    assert price is not None
    low, high = usd_range(price, (1_000_000, 2_000_000), (0, 1_000_000))
    assert low == pytest.approx(0.15)
    assert high == pytest.approx(0.90)


def test_sums():
    rng = random.Random(0)
    amounts = [Usage(calls=rng.randrange(5), prompt_tokens=rng.randrange(9)) for _ in range(50)]
    slow = NOTHING
    for amount in amounts:
        slow = slow + amount
    assert total(amounts) == slow
    assert slow - slow == NOTHING


def test_a_course_is_paid_as_far_as_it_ever_came():
    ledger = Ledger(None, budget=Budget(calls=10))
    for step in range(4):
        ledger.spend("teacher", "a", ONE.times(2), course="fit", before=ONE.times(2 * step))
    # Set back to its second step, and found by another arm.
    ledger.spend("teacher", "b", ONE.times(5), course="fit", before=ONE.times(2))
    assert ledger.physical(arm="b") == NOTHING
    ledger.spend("teacher", "b", ONE.times(3), course="fit", before=ONE.times(7))
    assert ledger.physical(arm="a") == ONE.times(8)
    assert ledger.physical(arm="b") == ONE.times(2)
    assert (ledger.logical(arm="a").calls, ledger.logical(arm="b").calls) == (8, 8)
    ledger.afford("teacher", ONE.times(10), what="a replay", course="fit")
    with pytest.raises(BudgetExhausted, match="ten texts missing"):
        ledger.afford("teacher", ONE, what="ten texts", course="other")
    with pytest.raises(BudgetExhausted, match="ten texts missing"):
        ledger.spend("teacher", "a", ONE, what="ten texts", course="other")
    assert ledger.charged() == ONE.times(10)
    ledger.afford("student", ONE.times(99), what="nothing that is capped")


def test_a_ledger_of_the_older_format_is_taken_over(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as old:
        assert old.reserve("teacher", "a", [ONE]) == 1
        old.settle("teacher", "a", ONE, spent=ONE)
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE spent DROP COLUMN scored")
        db.execute("DROP TABLE courses")
        db.execute("PRAGMA user_version = 1")
    db.close()
    with Ledger(path) as new:
        assert new.physical() == ONE
        new.spend("teacher", "a", ONE, course="fit")
        assert new.physical().calls == 2
