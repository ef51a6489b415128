"""The sentences follow from the numbers: each verdict is provoked by a run that deserves it."""

import pytest

from report.sample_run import write_run
from tutelage.report.findings import findings, verdict
from tutelage.report.read import read_run
from tutelage.report.summary import summarise
from tutelage.report.words import claim_row, question, reliability_in_words


def told(folder):
    run = read_run(folder)
    return {f.title: f for f in findings(run, summarise(run))}


def verdict_of(folder):
    return verdict(summarise(folder))


def test_a_clear_gain(tmp_path):
    found = verdict_of(write_run(tmp_path / "run"))
    assert (found.tone, found.title) == ("good", "Yes, here it helped")
    assert "the interval lies above 0" in found.text
    assert "paired over 3 seeds" in found.text


def test_an_interval_that_includes_0_is_never_called_a_gain(tmp_path):
    found = verdict_of(write_run(tmp_path / "run", levels={"arte": {0: 0.25}}))
    assert (found.tone, found.title) == ("plain", "Not shown here")
    assert "includes 0" in found.text
    assert "does not prove that there is none" in found.text


def test_a_clear_loss(tmp_path):
    found = verdict_of(write_run(tmp_path / "run", levels={"arte": {0: 0.02}}))
    assert found.title == "No, here it did worse"


def test_a_missing_arm_and_no_result_at_all(tmp_path):
    found = verdict_of(write_run(tmp_path / "a", arms=("untouched", "arte")))
    assert found.title == "The claim is untested here"
    assert "original_teacher" in found.text
    empty = write_run(tmp_path / "b", seeds=(0,), arms=("arte", "original_teacher"), skip=((0, "arte"), (0, "original_teacher")))
    assert verdict_of(empty).title == "No result yet"
    assert "0 of 2 arm-by-seed runs finished, 2 not started" in verdict_of(empty).text


def test_the_stronger_rival_the_drawn_out_share_and_the_loss_are_said(tmp_path):
    found = told(write_run(tmp_path / "run"))
    assert "verified_sampling" in found["Another way did at least as well"].text
    assert "All of that was within its reach before" in found["How much was taught, how much drawn out"].text
    assert "against the untouched student" in found["Something was lost"].text
    assert found["The control shows no gain, as it should"].tone == "good"
    assert "A toy run" not in found


def test_a_partly_drawn_out_gain_says_the_share(tmp_path):
    found = told(write_run(tmp_path / "run", levels={"untouched": {0: 0.20, 1: 0.40}, "arte": {0: 0.60, 1: 0.60}}))
    share = int(found["How much was taught, how much drawn out"].text.split("About ")[1].split(" %")[0])
    assert 35 <= share <= 65
    assert "Something was lost" not in found


def test_no_rival_no_claim_of_one(tmp_path):
    found = told(write_run(tmp_path / "run", levels={"verified_sampling": {0: 0.30}}))
    assert "Another way did at least as well" not in found


def test_a_control_that_helps_is_bad_news(tmp_path):
    found = told(write_run(tmp_path / "run", levels={"shuffled": {0: 0.60}}))
    assert found["The control helped too"].tone == "bad"


def test_a_control_says_nothing_without_a_gain_and_little_when_its_interval_is_wide(tmp_path):
    assert not any("control" in title for title in told(write_run(tmp_path / "a", levels={"arte": {0: 0.25}})))
    folder = write_run(tmp_path / "b", seeds=(0, 1, 2), skip=((2, "shuffled"),), levels={"arte": {0: 0.40}})
    found = told(folder)["The control does not decide"]
    assert found.tone == "plain"
    assert "paired over 2 seeds" in found.text


def test_an_untouched_student_that_is_best_is_named_as_such(tmp_path):
    found = told(write_run(tmp_path / "run", levels={"untouched": {0: 0.9, 1: 0.9}}))
    assert "Leaving the student alone did at least as well" in found


def test_differences_of_shares_stay_within_100_points(tmp_path):
    summary = summarise(write_run(tmp_path / "run", seeds=(0, 1), levels={"arte": {0: 0.95}, "original_teacher": {0: 0.02}}))
    arte = next(a for a in summary["arms"] if a["name"] == "arte")
    assert arte["metrics"]["accuracy, 0-shot"]["difference"]["high"] <= 1.0


def test_toy_refused_unfinished_and_single_seed_runs_say_so(tmp_path):
    found = told(write_run(tmp_path / "a", seeds=(0,), preset="toy", refused=((0, "shuffled"),), skip=((0, "verified_sampling"),)))
    assert "Its numbers mean nothing" in found["A toy run"].text
    assert "too noisy to align by" in found["A quality gate stopped an arm"].text
    assert "3 of 5 arm-by-seed runs finished, 1 not started" in found["Not finished"].text
    assert "Another seed may tell another story" in found["One seed"].text
    assert "one seed, over 120 test questions" in next(iter(found.values())).text


def test_the_question_names_task_and_models(tmp_path):
    said = question(read_run(write_run(tmp_path / "run")))
    assert said.startswith("The claim under test: a teacher tuned on")
    assert "task folds/shop with teacher bundled:teacher and student bundled:student, 3 seeds." in said


def test_claims_are_compared_by_direction_only(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    rows = [claim_row(run, summarise(run), c) for c in run.card["claims"]]
    assert [r["says"] for r in rows] == ["same direction", "same direction", "not tested in this run"]
    assert rows[0]["arms"] == "arte minus original_teacher"
    level = read_run(write_run(tmp_path / "level", levels={"arte": {0: 0.25, 1: 0.2}}))
    rows = [claim_row(level, summarise(level), c) for c in level.card["claims"]]
    assert [r["says"] for r in rows] == ["cannot be told from 0 here", "opposite direction", "not tested in this run"]


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ({}, []),
        ({"within_skill": {"corrected": None}, "reason": "All alike.", "verdict": "noise"}, ["All alike. Verdict: noise."]),
        ({"within_skill": {"corrected": 0.9}, "verdict": "reliable"}, ["0.90 among drafts of the same skill"]),
        ({"within_skill_and_style": {"corrected": 0.1}}, ["knows little about the single draft"]),
        ({"within_skill_and_style": {"corrected": 0.8}}, ["also tells single drafts apart"]),
    ],
)
def test_reliability_in_plain_words(note, expected):
    said = reliability_in_words(note)
    assert len(said) == len(expected)
    for sentence, part in zip(said, expected, strict=True):
        assert part in sentence
