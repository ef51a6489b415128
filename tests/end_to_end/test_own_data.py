"""ARTE on a user's own files with a user's own models: real GSM8K rows, checkpoints of two foreign architectures."""

import json
from collections import Counter
from pathlib import Path

import pytest
from own_models import DATA, SPLIT_OPTIONS, STILL, make_classroom, needs_data, tutelage

from checkpoints import tiny_checkpoint

pytestmark = pytest.mark.xdist_group("own_data")

SMALL = (
    "--toy", "--set", "question_tokens=160", "--set", "rationale_tokens=40", "--set", "items_per_call=1", "--set", "probes=8",
    "--set", "min_margin=0", "--set", "dpo.lr=1e-4", "--set", "dpo.epochs=2", *SPLIT_OPTIONS,
)  # fmt: skip
GERMAN_COLUMNS = ("--task-set", "question=Frage", "--task-set", "answer=Antwort")
ARMS = ("untouched", "original_teacher", "arte")


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    return make_classroom(tmp_path_factory.mktemp("classroom"))


def records(run, name, arm="arte"):
    path = run / "seeds" / "0" / arm / "records" / f"{name}.jsonl"
    return [json.loads(line)["record"] for line in path.read_text().splitlines()]


@needs_data
@pytest.mark.parametrize(("kind", "columns"), [("jsonl", ()), ("csv", GERMAN_COLUMNS)])
def test_a_users_file_and_models_give_a_full_report(kind, columns, classroom, tmp_path):
    run = tmp_path / "run"
    command = (
        "run", "arte", "--task", f"file:{getattr(classroom, kind)}", "--teacher", f"hf:{classroom.teacher}",
        "--student", f"hf:{classroom.student}", *SMALL, *columns, *(x for arm in ARMS for x in ("--arm", arm)), "--out", run,
    )  # fmt: skip
    done = tutelage(*command, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert {arm["name"] for arm in found["arms"]} == set(ARMS)
    assert found["fits"] == 3, "one alignment, two taught students"

    # What ARTE rests on: the student's answers behind different demonstrations are of different worth.
    liked = Counter(f["value"] for f in records(run, "liked"))
    assert len(liked) >= 2, liked
    pairs = records(run, "pairs")
    assert {p["kind"] for p in pairs} <= {"rationale", "question"}
    assert all(p["margin"] > 0 and p["chosen"] != p["rejected"] for p in pairs)
    assert len(pairs) >= 3
    examples = records(run, "examples")
    assert len(examples) == 6
    assert all("Question:\n" in e["prompt"]["messages"][0]["content"] and e["completion"] for e in examples)
    assert len({e["prompt"]["messages"][0]["content"] for e in examples}) == 6, "six different questions"
    cards = {arm: records(run, "scorecards", arm)[0] for arm in ARMS}
    assert {card["n"] for card in cards.values()} == {10}
    assert len({card["model"] for card in cards.values()}) == 3
    assert all(card["parsed"] > 0 for card in cards.values()), cards

    page = (run / "report.html").read_text()
    for word in (*ARMS, "rows." + kind, str(classroom.teacher), examples[0]["completion"].partition(".")[0]):
        assert word in page

    again = tutelage(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "0 new model calls and 0 new trainings" in again.stdout


@needs_data
def test_untrained_models_end_with_the_quality_gate_and_train_nothing(classroom, tmp_path):
    run = tmp_path / "run"
    done = tutelage(
        "run", "arte", "--task", f"file:{classroom.jsonl}", "--teacher", f"hf:{classroom.blank_teacher}",
        "--student", f"hf:{classroom.blank_student}", *SMALL, "--arm", "arte", "--out", run, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    assert "kept 0 of 33" in done.stdout
    assert "a reply began" in done.stdout
    assert not (run / "fits").exists()
    page = (run / "report.html").read_text()
    assert "kept 0 of 33" in page
    assert "reply without a readable item" in page


@needs_data
def test_a_student_too_short_for_any_demonstration_has_shown_no_preference(classroom, tmp_path):
    short = tiny_checkpoint(tmp_path / "short", "gpt2", seed=3, width=32, context=150, **STILL)
    run = tmp_path / "run"
    done = tutelage(
        "run", "arte", "--task", f"file:{classroom.jsonl}", "--teacher", f"hf:{classroom.teacher}", "--student", f"hf:{short}", *SMALL,
        "--arm", "arte", "--out", run, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    for word in ("behind no rationale could the student answer a single probe", "kept 0 of", "a student with a longer one"):
        assert word in done.stdout
    assert "leaves no room in a context of 150" in done.stdout
    assert not (run / "fits").exists()


@needs_data
def test_recorded_rationales_teach_on_real_questions(classroom, tmp_path):
    run = tmp_path / "run"
    done = tutelage(
        "run", "sft", "--task", "bbh/navigate", "--teacher", f"recorded:{DATA}/bbh_recorded/navigate.jsonl",
        "--student", f"hf:{classroom.student}", "--toy", "--test-limit", 10, "--arm", "sft", "--set", "rationale_tokens=400",
        "--out", run, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    taught = records(run, "examples", "sft")
    assert len(taught) == 6
    recorded = [json.loads(line) for line in (Path(DATA) / "bbh_recorded" / "navigate.jsonl").read_text().splitlines()]
    for example in taught:
        question = example["prompt"]["messages"][0]["content"]
        mine = [row["rationale"].strip() for row in recorded if row["question"].partition("\n")[0] in question]
        assert any(text in example["completion"] for text in mine), "the recorded rationale of that question, word for word"
    assert "sft" in (run / "report.html").read_text()
