"""LbT on two skills of the bundled world: what each arm asks, and what it is measured by."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

import tutelage
from tutelage.journal.folder import ArmJournal
from tutelage.recipes import lbt
from tutelage.tasks import open_task

pytestmark = pytest.mark.xdist_group("recipes")

ARMS = ("greedy", "majority", "majority_exams", "self_evaluation", "lbt", "unlike_exams", "m2", "m3")
SETTINGS = {"prefix": 2, "pairs": 4, "pairs_tuned": 3, "examples": 4}


@cache
def journal(arm: str) -> ArmJournal:
    outcome = tutelage.run(
        "lbt", task="folds/*", teacher="bundled:teacher", student="bundled:student", preset="toy", arms=list(ARMS),
        task_options={"test_size": 3, "train_size": 8}, settings=SETTINGS,
    )  # fmt: skip
    return ArmJournal(outcome.folder / "seeds" / "0" / arm)


def note(arm: str, name: str):
    return next(e["value"] for e in journal(arm).events() if e["event"] == "note" and e["name"] == name)


def asked(arm: str) -> Counter[str]:
    """Rationales of step 1 by problem."""
    return Counter(x.problem.id for x in journal(arm).records("solutions"))


def exams(arm: str) -> dict[str, set[str]]:
    """Taught problem -> ids of its exam problems, from the origins of the scores."""
    problem_of = {x.id: x.problem.id for x in journal(arm).records("solutions")}
    return {problem_of[f.item]: set(f.origin.parents[1:]) for f in journal(arm).records("taught")}


def test_each_use_draws_its_own_number_of_rationales():
    assert set(asked("lbt").values()) == {4}
    assert set(asked("m2").values()) == {3}
    assert set(asked("greedy").values()) == {1}
    exemplars_times_beam = 2 * 1
    assert len(asked("m3")) == 4 * exemplars_times_beam, "per skill no more problems than the first sets show"
    assert set(asked("m3").values()) == {1}


def test_the_paper_presets_numbers_are_the_papers():
    paper = lbt.Settings()
    assert (paper.pairs, paper.pairs_tuned, paper.exams, paper.repeats) == (256, 32, 3, 3)


def skills_of(ids: set[str], task) -> set[str]:
    return {p.skill for p in (*task.seed, *task.train) if p.id in ids}


def test_exams_are_never_the_demonstrations_in_front_and_unlike_ones_are_of_other_skills():
    task = open_task("folds/*", {"test_size": 3, "train_size": 8})
    skill_of = {x.problem.id: x.problem.skill for x in journal("lbt").records("solutions")}
    shown = {p.id for skill in task.skills for p in [p for p in task.seed if p.skill == skill][:2]}
    assert len(shown) == 8
    alike, unlike = exams("lbt"), exams("unlike_exams")
    for problem, mine in alike.items():
        assert len(mine) == 2
        assert not mine & (shown | {problem})
        assert skills_of(mine, task) == {skill_of[problem]}
    for problem, mine in unlike.items():
        assert mine
        assert not mine & shown
        assert skill_of[problem] not in skills_of(mine, task)


def test_the_fair_control_is_shown_rationales_and_not_bare_answers():
    assert 0.5 < note("majority_exams", "exams solved by the teacher") <= 1


def test_self_evaluation_scores_without_asking_a_student():
    scores = journal("self_evaluation").records("taught")
    assert {f.signal for f in scores} == {"self_evaluation"}
    assert all(f.value is None or 0 <= f.value <= 1 for f in scores)
    assert len({f.value for f in scores}) > 2


def test_the_oracle_is_right_at_least_as_often_as_any_vote():
    for arm in ("greedy", "majority", "self_evaluation", "lbt"):
        assert 0 <= note(arm, "answer accuracy") <= note(arm, "oracle accuracy") <= 1
    assert note("greedy", "answer accuracy") == note("greedy", "oracle accuracy"), "of one rationale the best is that one"
    assert note("majority", "oracle accuracy") == note("lbt", "oracle accuracy"), "the same rationales"


def test_an_arm_that_lacks_its_students_is_refused():
    outcome = tutelage.run(
        "lbt", task="folds/msum", teacher="bundled:teacher", student="bundled:student", preset="toy", arms=["lbt"],
        task_options={"test_size": 3}, settings={"students": 99},
    )  # fmt: skip
    assert "fewer students" in outcome.refused["0/lbt"]
    assert outcome.calls == 0, "refused before anything is asked"
