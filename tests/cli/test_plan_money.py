"""What a plan says of money, as a user sees it. Nothing is sent: the addresses below lead nowhere."""

import orjson
import pytest

from tutelage.cli import main

ARMS = ("--arm", "original_teacher", "--arm", "best_of_n")
REMOTE = "openai:gpt-4.1-mini@https://host.example/v1?dialect=folds"


@pytest.fixture
def plan(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUTELAGE_PRICES", raising=False)

    def planned(teacher, *more, arms=ARMS, as_json=True):
        command = ("plan", "arte", "--task", "folds/msum", "--toy", "--student", "bundled:student", "--teacher", teacher, *arms, *more)
        assert main([*command, "--json"] if as_json else command) == 0
        said = capsys.readouterr().out
        return orjson.loads(said) if as_json else said

    return planned


def test_money_is_the_tokens_at_the_list_price(plan):
    found = plan(REMOTE)
    rows = [row for row in found["rows"] if row["role"] == "teacher"]
    assert [row["arm"] for row in rows] == ["original_teacher", "best_of_n"]
    for row in rows:
        for end in (0, 1):
            assert row["usd"][end] == pytest.approx(
                (row["prompt_tokens"][end] * 0.40 + row["completion_tokens"][end] * 1.60) / 1e6, rel=0.01
            )
        assert 0 < row["usd"][0] < row["usd"][1]
    assert [row["usd"] for row in found["rows"] if row["role"] == "student"] == [[0, 0], [0, 0]]
    (bill,) = found["bills"]
    assert (bill["role"], bill["model"]) == ("teacher", REMOTE)
    assert bill["calls"] == found["unique_teacher_calls"]
    assert bill["usd"] == found["usd"]
    assert "$0.40 in" in bill["price"]
    assert "list of 2025-04-14" in bill["price"]


def test_arms_share_answers_and_seeds_do_not(plan):
    both = plan(REMOTE)
    alone = [plan(REMOTE, arms=("--arm", arm))["usd"] for arm in ("original_teacher", "best_of_n")]
    assert max(high for _, high in alone) <= both["usd"][1] < sum(high for _, high in alone)
    three = plan(REMOTE, "--seeds", "3")
    assert three["usd"] == pytest.approx([3 * end for end in both["usd"]])
    assert three["bills"][0]["calls"] == [3 * end for end in both["bills"][0]["calls"]]


def test_a_plan_is_said_in_words(plan):
    said = plan(REMOTE, "--seeds", "2", as_json=False)
    assert "nothing was asked or trained" in said
    assert "To be paid for the teacher over all arms and 2 seeds:" in said
    assert "$0.40 in, $0.10 in from its cache, $1.60 out per million tokens, list of 2025-04-14" in said
    assert "must leave room above that" in said


def test_a_model_without_a_price_gets_none_and_says_how_to_name_one(plan):
    name = "openai:nobody-knows-me@https://host.example/v1"
    found = plan(name)
    assert found["usd"] is None
    assert found["bills"][0]["usd"] is None
    assert found["bills"][0]["calls"][1] > 0
    assert all(row["usd"] is None for row in found["rows"] if row["role"] == "teacher")
    said = plan(name, as_json=False)
    assert "price not known" in said
    assert "TUTELAGE_PRICES" in said
    assert "$" not in said


def test_the_users_price_comes_first(plan, monkeypatch, tmp_path):
    (tmp_path / "mine.toml").write_text('[models."gpt-4.1-mini"]\ninput = 0\noutput = 1000\nas_of = "2026-11-01"\n')
    before = plan(REMOTE)
    monkeypatch.setenv("TUTELAGE_PRICES", str(tmp_path / "mine.toml"))
    found = plan(REMOTE)
    row = next(row for row in found["rows"] if row["role"] == "teacher")
    assert row["usd"] == pytest.approx([tokens / 1000 for tokens in row["completion_tokens"]], rel=0.01)
    assert found["usd"][0] > before["usd"][1]
    assert "list of 2026-11-01" in found["bills"][0]["price"]


def test_what_runs_here_costs_nothing(plan):
    assert "Nothing is to be paid" in plan("bundled:teacher", as_json=False)
    assert plan("bundled:teacher")["bills"] == []
    local = plan("openai:my-llama@http://127.0.0.1:8080/v1")
    assert local["usd"] == [0, 0]
    assert local["bills"][0]["price"] == "free"
    assert local["bills"][0]["calls"][1] > 0
