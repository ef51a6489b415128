"""The verbs compare and reproduce from the command line: sizes, leaderboards, refusals, exit codes."""

import orjson
import pytest

from tutelage.cli import main

PAIR = ("--task", "folds/msum", "--teacher", "bundled:teacher", "--student", "bundled:student", "--toy", "--task-set", "test_size=6")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache.sqlite"))


def test_sizes_alone_ask_nothing(tmp_path, capsys):
    assert main(["compare", "sft", "verified-sampling", "untouched", *PAIR, "--budget", "calls=10", "--plan"]) == 0
    said = capsys.readouterr().out
    assert "sft: examples=10; planned 10 to 10 calls" in said
    assert "untouched: asks no teacher" in said
    assert not (tmp_path / "runs").exists()
    assert main(["compare", "sft", "verified-sampling", *PAIR, "--budget", "calls=10", "--plan", "--json"]) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert found["sft"]["sizes"] == {"examples": 10}
    assert found["verified-sampling"]["planned"]["calls"][1] == 8


def test_a_comparison_in_two_processes_is_printed_and_continued(tmp_path, capsys):
    command = ["compare", "sft", "untouched", *PAIR, "--budget", "calls=6", "--seeds", "2", "--jobs", "2", "--out", str(tmp_path / "board")]
    assert main(command) == 0
    said = capsys.readouterr().out
    for text in (
        "accuracy, 0-shot",
        "difference to best",
        "teacher calls",
        "training tokens",
        "after Holm's correction",
        "leaderboard.html",
    ):
        assert text in said
    assert main([*command, "--json"]) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert (found["calls"], found["fits"]) == (0, 0)
    assert {row["name"]: row["teacher"]["calls"]["most"] for row in found["rows"]} == {"sft": 6, "untouched": 0}
    assert found["left_out"] == {}
    assert (tmp_path / "board" / "leaderboard.md").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "sft", "nosuch", *PAIR, "--budget", "calls=9"), "unknown recipe"),
        (("compare", "sft", "untouched", *PAIR, "--budget", "9"), "fix: write NAME=VALUE"),
        (("compare", "sft", "untouched", *PAIR), "needs a budget"),
        (("compare", "sft", "untouched", *PAIR, "--budget", "calls=9", "--yield", "often"), "--yield takes"),
        (("compare", "sft", "untouched", *PAIR, "--budget", "calls=9", "--set", "examples=3"), "names its recipe first"),
        (("compare", "verified-sampling", "sft", *PAIR, "--budget", "calls=1"), "too small for every one"),
        (("reproduce",), "needs a recipe"),
        (("reproduce", "nosuch"), "unknown recipe"),
        (("reproduce", "untouched"), "declares no experiment"),
        (("reproduce", "sft:nosuch"), "declares no such experiment"),
        (("reproduce", "sft", "--tune", "--declare"), "exclude one another"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error(arguments, said, capsys):
    assert main(list(arguments)) == 2
    assert said in capsys.readouterr().err


def test_a_declaration_and_claims_are_written_where_they_are_wanted(tmp_path, capsys):
    assert main(["reproduce", "sft", "--declare", "--docs", str(tmp_path), "--json"]) == 0
    [found] = orjson.loads(capsys.readouterr().out)
    assert found["seal"].startswith("b2-")
    assert "sft minus answers_only in accuracy" in (tmp_path / "experiments" / "reproduce-sft.md").read_text()
    assert main(["reproduce", "--write-claims", "--docs", str(tmp_path)]) == 0
    assert "Experiments: 0. Claims: 0; none yet." in (tmp_path / "claims.md").read_text()
