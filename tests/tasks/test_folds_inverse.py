"""Questions of the bundled world turned round."""

import random

import pytest

from tutelage.records import Problem
from tutelage.tasks import open_task
from tutelage.tasks.folds import draw_problems
from tutelage.tasks.folds_inverse import invert
from tutelage.tasks.folds_world import SOURCES, TARGETS, draw_question, fold, parse_question, solve


@pytest.mark.parametrize(
    ("text", "turned", "answer"),
    [
        ("face north turn Mon right Tue back Wed right ?", "face north turn Mon left Tue back Wed left ?", "north"),
        ("ball a swap Mon ab Tue bc Wed ac ?", "ball a swap Mon ac Tue bc Wed ab ?", "a"),
    ],
)
def test_days_are_undone_from_the_answer(text, turned, answer):
    found = invert(Problem(text=text, skill=parse_question(text).skill))
    assert (found.text, found.answer) == (turned, answer)


@pytest.mark.parametrize("skill", TARGETS)
def test_the_answer_is_right_and_stated_in_the_question_and_the_question_states_the_answer(skill):
    found = 0
    for problem in draw_problems(skill, "train", 120, seed=0):
        inverse = invert(problem)
        if inverse is None:
            continue
        found += 1
        before, after = parse_question(problem.text), parse_question(inverse.text)
        assert solve(inverse.text) == inverse.answer
        assert inverse.text != problem.text
        assert after.days == before.days
        assert inverse.answer in (before.start, *(v.removeprefix("+") for v in before.values))
        assert problem.answer in (after.start, *(v.removeprefix("+") for v in after.values))
        assert inverse.origin.parents == (problem.id,)
    assert found >= 70, "most questions of every target skill can be turned round"


def test_turning_twice_gives_the_question_where_the_start_is_named():
    rng = random.Random(0)
    for skill in ("nav", "track"):
        for _ in range(50):
            text = draw_question(rng, skill).text
            once = invert(Problem(text=text, skill=skill))
            if once is not None:
                assert invert(once).text == text


@pytest.mark.parametrize("skill", SOURCES)
def test_skills_that_lose_what_they_were_given_cannot_be_turned_round(skill):
    question = draw_question(random.Random(1), skill)
    assert fold(question) is not None
    assert invert(Problem(text=question.text, skill=skill)) is None


def test_malformed_questions_cannot_be_turned_round():
    assert invert(Problem(text="How many cups?")) is None
    assert open_task("folds/nav").invert is invert
