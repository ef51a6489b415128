"""What was left out is told with its number, its reason and an example."""

import orjson
import pytest

from report.sample_run import write_run
from tutelage.report.findings import findings
from tutelage.report.omitted import rows_left_out, work_left_out
from tutelage.report.read import read_run
from tutelage.report.summary import summarise


def with_events(folder, seed, arm, *events):
    path = folder / "seeds" / str(seed) / arm / "events.jsonl"
    path.write_bytes(path.read_bytes() + b"".join(orjson.dumps(e) + b"\n" for e in events))


def with_task(folder, **facts):
    body = orjson.loads((folder / "run.json").read_bytes())
    body["task"] = {**body["task"], **facts}
    (folder / "run.json").write_bytes(orjson.dumps(body))


@pytest.fixture
def folder(tmp_path):
    run = write_run(tmp_path / "run", seeds=(0, 1))
    with_task(run, dropped={}, malformed=[])
    return run


def test_where_everything_was_used_nothing_is_said(folder):
    run = read_run(folder)
    assert rows_left_out(run) == ""
    assert work_left_out(run) == []
    assert not [f for f in findings(run, summarise(run)) if "left out" in f.title or "could be used" in f.title]


def test_fewer_techniques_than_were_asked_for_are_told_once(folder):
    for seed in (0, 1):
        with_events(folder, seed, "arte", {"event": "note", "name": "techniques", "value": {"wanted": 8, "used": 4}})
    told = work_left_out(read_run(folder))
    assert told == ["The task knows 4 ways to write a rationale, so 4 were drafted per question instead of 8."]


def test_rows_are_counted_by_reason_and_the_first_malformed_one_is_shown(folder):
    with_task(folder, dropped={"malformed": 2, "train: stands in test too": 3}, malformed=["line 31: not JSON", "line 40: empty"])
    told = rows_left_out(read_run(folder))
    assert told == (
        "Of the task's rows 5 were left out: 2 malformed; 3 in train (stands in test too). The first malformed one: line 31: not JSON."
    )


def test_unanswered_requests_and_untrained_texts_are_summed_over_seeds(folder):
    for seed, count in ((0, 2), (1, 3)):
        with_events(
            folder, seed, "arte",
            {"event": "unanswered", "role": "student", "step": "one_shot", "asked": 10, "count": count, "example": "prompt of 9 tokens"},
            {"event": "fit", "role": "student", "examples": 6, "dropped": {"longer than the context": 1, "truncated to the context": 2}},
        )  # fmt: skip
    run = read_run(folder)
    told = work_left_out(run)
    assert told[0] == "The student could not answer 5 of 20 requests (step one_shot), for example: prompt of 9 tokens."
    assert any("2 texts longer than the context, left out." in line for line in told)
    assert any("4 texts truncated to the context." in line for line in told)
    found = next(f for f in findings(run, summarise(run)) if f.title == "Not everything could be used")
    assert found.tone == "warn"
    assert told[0] in found.text
