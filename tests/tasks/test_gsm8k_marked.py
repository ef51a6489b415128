"""Marked solutions: questions split, never solutions; equations checked by what can be known without the answer."""

from __future__ import annotations

import os

import orjson
import pytest

from tutelage.errors import DataError, SettingsError
from tutelage.tasks import open_task
from tutelage.tasks.arithmetic import evaluate, mark_equations, number, numbers_in
from tutelage.tasks.folds import criticise
from tutelage.tasks.gsm8k_marked import WRITERS

QUESTION = "Ann has 16 eggs. She eats three and sells the rest for $2 each. How much does she make?"
RIGHT = "She sells 16 - 3 = <<16-3=13>>13 eggs\nShe makes 13 * 2 = $<<13*2=26>>26\nA: 26"


def test_a_right_solution_follows_throughout():
    assert mark_equations(QUESTION, RIGHT) == [("16-3 = 13", True), ("13*2 = 26", True), ("A 26", True)]


@pytest.mark.parametrize(
    ("solution", "wanted"),
    [
        ("<<16-3=12>>12\n<<12*2=24>>24\nA: 24", [("16-3 = 12", False), ("12*2 = 24", True), ("A 24", True)]),
        ("<<16-9=7>>7\n<<7*2=14>>14\nA: 14", [("16-9 = 7", False), ("7*2 = 14", True), ("left 3", False), ("A 14", True)]),
        ("<<16*2=32>>32\nA: 32", [("16*2 = 32", True), ("left 3", False), ("A 32", True)]),
        ("<<16-3=13>>13\n<<13*2=26>>26\nA: 27", [("16-3 = 13", True), ("13*2 = 26", True), ("A 27", False)]),
        ("She makes 26.\nA: 26", None),
        ("<<16/0=1>>1\nA: 1", [("16/0 = 1", False), ("left 3", False), ("left 2", False), ("A 1", True)]),
        ("<<__import__('os')=1>>1\nA: 1", [("__import__('os') = 1", False), ("left 16", False), ("left 3", False), ("A 1", True)]),
    ],
)
def test_what_does_not_follow_is_marked(solution, wanted):
    assert mark_equations(QUESTION, solution) == wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [("2*(3+4)", 14.0), ("1,000-1", 999.0), ("50%*80", 40.0), ("-3+5", 2.0), ("2**9", None), ("a+1", None), ("3+", None), ("1/0", None)],
)
def test_only_plain_arithmetic_is_evaluated(text, value):
    assert evaluate(text) == value


def test_numbers():
    assert numbers_in("Three of 1,200 eggs at $2.50, twice; .5 and 3") == [3.0, 1200.0, 2.5, 2.0, 0.5]
    assert [number(x) for x in ("$1,200", "3.", "15%", "about 3", "nan", "1e400")] == [1200.0, 3.0, 15.0, None, None, None]


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file of the published form with rows of our own."""
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    rows = []
    for i in range(40):
        solved = {w: {"is_correct": (i + j) % 3 == 0, "solution": f"<<{i}+{j}={i + j}>>{i + j}\nA: {i + j}"} for j, w in enumerate(WRITERS)}
        if i % 8 == 0:
            solved = {w: {"is_correct": True, "solution": s["solution"]} for w, s in solved.items()}
        rows.append({"question": f"What is {i} and {i}?", "ground_truth": f"so\nA: {i}", **solved})
    (folder / "model_solutions.jsonl").write_bytes(b"\n".join(orjson.dumps(r) for r in rows))
    monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path))
    return folder / "model_solutions.jsonl"


def mixed(problem):
    return {s["right"] for s in problem.context["solutions"]} == {True, False}


def test_questions_are_split_and_tested_where_there_is_something_to_compare(published):
    task = open_task("gsm8k-marked", {"validation_size": 8, "test_size": 10})
    sizes = {split: len(getattr(task, split)) for split in ("seed", "train", "validation", "test")}
    assert sizes == {"seed": 2, "train": 20, "validation": 8, "test": 10}
    texts = [p.text for split in sizes for p in getattr(task, split)]
    assert len(set(texts)) == len(texts) == 40
    assert all(mixed(p) for split in ("validation", "test") for p in getattr(task, split))
    assert not all(map(mixed, task.train))
    for p in task.test:
        assert task.verify(p, f"A: {p.answer}").right


def test_tuning_never_sees_the_test(published):
    sizes = {"validation_size": 8, "test_size": 10}
    record, tuning = open_task("gsm8k-marked", sizes), open_task("gsm8k-marked", {**sizes, "test_on": "validation"})
    assert len(tuning.test) == len(tuning.validation) == 4
    assert {p.text for p in (*tuning.test, *tuning.validation)} == {p.text for p in record.validation}
    assert tuning.train == record.train
    other = open_task("gsm8k-marked", {**sizes, "split_seed": 1})
    assert {p.text for p in other.test} != {p.text for p in record.test}


def test_files_that_are_not_as_published_are_refused(published):
    with pytest.raises(SettingsError, match="test_on"):
        open_task("gsm8k-marked", {"test_on": "train"})
    published.write_bytes(b'{"question": "?"}')
    with pytest.raises(DataError, match="not as published"):
        open_task("gsm8k-marked")


@pytest.mark.skipif("TUTELAGE_DATA" not in os.environ, reason="needs the published files: TUTELAGE_DATA is not set")
def test_the_published_marks_agree_with_the_verifier():
    task = open_task("gsm8k-marked")
    rows = [(p, s) for split in (task.seed, task.train, task.validation, task.test) for p in split for s in p.context["solutions"]]
    assert len({p.text for p, _ in rows}) > 1300
    agree = sum(task.verify(p, s["text"]).right == s["right"] for p, s in rows) / len(rows)
    assert agree > 0.99
    assert sum(task.criticise(p, s["text"]) is not None for p, s in rows) / len(rows) > 0.9


def test_the_bundled_world_criticises_step_by_step():
    from tutelage.records import Problem

    problem = Problem(text="last digit of sum Mon 8 Tue 3 Wed 5 ?")
    assert criticise(problem, "Mon 8 8 ; Tue 3 1 ; Wed 5 6 => 6") == [("Mon 8 8", True), ("Tue 3 1", True), ("Wed 5 6", True), ("6", True)]
    marked = criticise(problem, "Mon 8 8 ; Tue 3 2 ; Wed 5 7 => 6")
    assert marked == [("Mon 8 8", True), ("Tue 3 1", False), ("Wed 5 6", False), ("6", True)]
    assert [ok for _, ok in criticise(problem, "Mon 8 8 ; Tue 3 1 => 1") or []] == [True, True, False, False]
    assert [ok for _, ok in criticise(problem, "Mon 8 x ; Tue 3 1 ; Wed 5 6 => 6") or []] == [False, True, True, True]
    assert [ok for _, ok in criticise(problem, "Mon 8 8 ; Wed 5 3 ; Tue 3 6 => 6") or []] == [True, False, False, True]
    assert criticise(problem, "=> 6") is None
    assert criticise(problem, "say 6 ; Mon 8 ; Tue 3 => 6") is None
    assert criticise(Problem(text="nonsense"), "Mon 8 8 => 8") is None
