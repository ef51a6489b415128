"""The two notations of the bundled world: equally informative, told apart, checked step by step; garbled forms say nothing."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.records import Problem
from tutelage.tasks import folds, open_task
from tutelage.tasks import folds_world as world
from tutelage.tasks.folds_documents import Diet, draw_document
from tutelage.tasks.folds_notations import NOTATIONS, NOTHING, WRITERS, as_steps, notation_errors, notation_of, write_before

QUESTION = "last digit of sum Mon 8 Tue 3 Wed 5 ?"


def drawn(seed: int) -> world.Question:
    rng = random.Random(seed)
    return world.draw_question(rng, rng.choice(list(world.SKILLS)))


def test_a_hand_worked_question_in_both_notations() -> None:
    question = world.parse_question(QUESTION)
    assert question is not None
    rng = random.Random(0)
    assert NOTATIONS["steps"](question, rng) == "Mon 8 8 ; Tue 3 1 ; Wed 5 6 => 6"
    assert NOTATIONS["before"](question, rng) == "0 Mon 8 ; 8 Tue 3 ; 1 Wed 5 => 6"
    largest = world.parse_question("max of Mon 8 Tue 3 Wed 9 ?")
    assert largest is not None
    assert write_before(largest, rng) == f"{NOTHING} Mon 8 ; 8 Tue 3 ; 8 Wed 9 => 9"


def test_both_notations_are_as_long_and_say_the_same() -> None:
    rng = random.Random(1)
    for seed in range(300):
        question = drawn(seed)
        texts = {name: write(question, rng) for name, write in NOTATIONS.items()}
        assert len({len(t.split()) for t in texts.values()}) == 1
        assert as_steps(question.text, texts["before"]) == texts["steps"]
        for name, text in texts.items():
            assert notation_of(text) == name
            assert notation_errors(question.text, text) == ()
            assert folds.verify(Problem(text=question.text, skill=question.skill), text).right


def test_every_planted_error_in_state_first_steps_is_found() -> None:
    rng = random.Random(2)
    for seed in range(300):
        question = drawn(seed)
        words = write_before(question, rng).split()
        place = rng.choice([i for i, w in enumerate(words) if w not in (";", world.ARROW)])
        other = rng.choice([w for w in (*world.DAYS, *world.SKILLS[question.skill].states, "7x") if w != words[place]])
        broken = " ".join([*words[:place], other, *words[place + 1 :]])
        assert notation_errors(question.text, broken), broken


@pytest.mark.parametrize(
    "text", ["", "=> 6", "0 Mon 8 ; 8 Tue 3 ; 1 Wed 5", "8 Mon 8 ; 8 Tue 3 ; 1 Wed 5 => 6", "0 Mon 8 ; Tue 3 ; 1 Wed 5 => 6"]
)
def test_what_is_no_state_first_solution_is_not_read_as_one(text: str) -> None:
    assert as_steps(QUESTION, text) is None
    assert notation_errors(QUESTION, text)


def test_garbled_forms_have_the_form_and_not_the_truth() -> None:
    rng = random.Random(3)
    right: Counter[str] = Counter()
    for seed in range(400):
        question = world.draw_question(random.Random(seed), "msum")
        for name in NOTATIONS:
            text = WRITERS[f"garbled_{name}"](question, rng)
            assert notation_of(text) == name
            assert len(text.split()) == len(NOTATIONS[name](question, rng).split())
            right[name] += folds.verify(Problem(text=question.text, skill="msum"), text).right
    assert all(10 < right[name] < 90 for name in NOTATIONS), right


def test_older_styles_keep_their_names() -> None:
    rng = random.Random(4)
    for seed in range(200):
        question = drawn(seed)
        for write in world.STYLES.values():
            text = write(question, rng)
            assert notation_of(text) == world.style_of(text)
    assert notation_of("") == notation_of("0 Mon 8") == notation_of("perhaps 3") == "other"


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_the_checker(question: str, text: str) -> None:
    notation_of(text)
    as_steps(question, text)
    notation_errors(question, text)
    notation_errors(QUESTION, text)


def test_the_task_offers_the_second_notation_only_when_asked() -> None:
    usual, both = open_task("folds/*"), open_task("folds/*", {"styles": "steps,before"})
    text = "0 Mon 8 ; 8 Tue 3 ; 1 Wed 5 => 6"
    assert [t.name for t in usual.techniques] == ["steps", "terse", "posthoc"]
    assert [t.name for t in both.techniques] == ["steps", "before"]
    assert usual.style is not None
    assert both.style is not None
    assert usual.style(text) == "other"
    assert both.style(text) == "before"
    assert usual.test == both.test


def test_documents_can_be_written_in_every_form() -> None:
    shares = dict.fromkeys(WRITERS, 1.0)
    diet = Diet(target_share=0.5, plain=shares, shown=shares, cued=shares, kinds={"plain": 1.0, "shots": 1.0})
    rng = random.Random(5)
    seen = Counter(notation_of(draw_document(rng, diet)[-1].text) for _ in range(400))
    assert set(seen) == {"steps", "before", "terse", "posthoc"}
    # `steps` is also the form of `maybe` and of its garbled twin: three of seven writers.
    assert 0.3 < seen["steps"] / 400 < 0.56
    assert 0.18 < seen["before"] / 400 < 0.4
