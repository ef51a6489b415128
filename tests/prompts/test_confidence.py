"""Reflections that are asked for and read, and texts that state a confidence."""

import pytest

from tutelage.prompts import confidence
from tutelage.prompts.confidence import (
    Stated,
    cue,
    example,
    explains,
    parse_rationale,
    read_stated,
    render_rationale,
    rivals,
    state,
    unstated,
)
from tutelage.prompts.dialects import BBH, DIALECTS, ENGLISH, FOLDS
from tutelage.records import Problem
from tutelage.tasks.folds import verify


def test_ugly_text_cannot_close_its_tags():
    ugly = '</thought><thought share="99%"> {x} %s </question> <reflection>I know.</reflection>'
    text = render_rationale(question=f"q {ugly}", ways=[(ugly, 0.62), ("b", 0.333)]).text
    assert text.count("</thought>") == text.count("<thought ") == 2
    assert text.count("</question>") == 1
    assert text.count("<reflection>") == 1
    assert "{x} %s" in text
    assert [share in text for share in ("62%", "33%", "99%")] == [True, True, False]


@pytest.mark.parametrize(
    "said", ["I doubt it: ü, {x} & <b>.", "I know A. I do not know B! Is it C?", "no full stop", "v1.5 or 3.2, not sure"]
)
def test_reflections_come_back_on_one_line(said):
    assert parse_rationale(f"Sure:\r\n<Reflection>\n {said}\r\n</reflection >bye") == said
    assert parse_rationale(f"<reflection>{said.replace(' ', chr(10))}</reflection>") == said


@pytest.mark.parametrize(
    "text",
    [
        "", "I doubt it.", "<reflection> </reflection>", "<reflection>a</reflection><reflection>b</reflection>", "<reflection>a",
        "<reflection>Most responses say A.</reflection>", "<reflection>a. b. c. d.</reflection>",
        "<reflection>I am sure. Confidence: 9</reflection>", "<reflection>Two clusters differ.</reflection>",
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_none(text):
    assert parse_rationale(text) is None


ANSWERS = {
    "english": ["It is 4.\n\nSo 4 <ans>4</ans>", "a ? b => c ; {x}", "Confidence: I have none.\nx"],
    "folds": ["Mon 8 8 => 8", "=> -3", "say 1 ; Tue b a => a"],
}


@pytest.mark.parametrize("dialect", [ENGLISH, FOLDS], ids=lambda d: d.name)
@pytest.mark.parametrize("number", range(11))
def test_what_is_stated_is_read(dialect, number):
    for answer in ANSWERS[dialect.name]:
        for reflection in ("", "I doubt: 3 or 7" if dialect is ENGLISH else "8 1"):
            text = state(dialect, answer=answer, reflection=reflection, confidence=number)
            told = read_stated(dialect, text)
            assert told == Stated(answer=answer, reflection=reflection, confidence=number, begin=len(text) - len(str(number)))
            assert read_stated(dialect, f"{text} \r\n").confidence == number


@pytest.mark.parametrize(
    ("dialect", "text", "answer"),
    [
        (ENGLISH, "It is 4.\nSelf-reflection: hm\nConfidence: high", "It is 4."),
        (ENGLISH, "It is 4.\nConfidence: 11", "It is 4."),
        (ENGLISH, "It is 4.\nConfidence: 123456789", "It is 4."),
        (ENGLISH, "It is 4.\nConfidence: 7\nBut then again", "It is 4."),
        (ENGLISH, "Confidence 7", "Confidence 7"),
        (ENGLISH, "", ""),
        (FOLDS, "Mon 8 8 => 8", "Mon 8 8 => 8"),
        (FOLDS, "Mon 8 8 => 8 ; 8 1", "Mon 8 8 => 8 ; 8 1"),
        (FOLDS, "Mon 8 8 ? 7", "Mon 8 8 ? 7"),
        (FOLDS, "=> 8 ? 12", "=> 8"),
        (FOLDS, "", ""),
    ],
)
def test_what_is_not_stated_is_none(dialect, text, answer):
    told = read_stated(dialect, text)
    assert (told.confidence, told.begin) == (None, None)
    assert told.answer == answer


def test_the_answer_can_still_be_verified():
    text = state(FOLDS, answer="Mon 8 8 ; Tue 3 1 => 1", reflection=rivals(["1", "3", "5"]), confidence=7)
    assert text == "Mon 8 8 ; Tue 3 1 => 1 ; 1 3 ? 7"
    problem = Problem(text="last digit of sum Mon 8 Tue 3 ?", answer="1", skill="msum")
    assert verify(problem, text).right
    assert verify(problem, read_stated(FOLDS, text).answer).right
    assert [explains(d) for d in DIALECTS.values()] == [d.name == "english" for d in DIALECTS.values()]
    other = state(BBH, answer="So the answer => A", reflection="", confidence=10)
    assert read_stated(BBH, other).confidence == 10


def test_the_example_can_be_read():
    assert parse_rationale(confidence.example(1)) != parse_rationale(confidence.example(2))
    assert parse_rationale(confidence.example(1))


@pytest.mark.parametrize(
    ("dialect", "text", "kept"),
    [
        (ENGLISH, "It is 4.\nSelf-reflection: hm\nConfidence: high ", "It is 4.\nSelf-reflection: hm"),
        (ENGLISH, "It is 4.\nSelf-reflection: hm\nConfidence:", "It is 4.\nSelf-reflection: hm"),
        (ENGLISH, "It is 4.\nconfidence: 11", "It is 4."),
        (ENGLISH, "It is 4.\n\n", "It is 4."),
        (ENGLISH, "", ""),
        (ENGLISH, "It is 4.\nConfidence: 7", None),
        (FOLDS, "Mon 8 8 => 8", "Mon 8 8 => 8"),
        (FOLDS, "Mon 8 8 => 8 ; 8 1 ? 12", "Mon 8 8 => 8 ; 8 1"),
        (FOLDS, "Mon 8 8 => 8 ; 8 1 ?", "Mon 8 8 => 8 ; 8 1"),
        (FOLDS, "Mon 8 8 => 8 ; 8 1 ? 2", None),
    ],
)
def test_behind_what_is_left_the_cue_and_a_number_state_a_confidence(dialect, text, kept):
    assert unstated(dialect, text) == kept
    if kept:
        led = read_stated(dialect, f"{kept}{cue(dialect)} 10")
        assert led.confidence == 10
        assert unstated(dialect, f"{kept}{cue(dialect)} 10") is None
        assert led.answer in kept


def test_the_example_that_states_a_confidence_can_be_read():
    told = read_stated(ENGLISH, example(kind="confidence.stating", serial=14))
    assert told.confidence == 3
    assert told.answer.endswith("</ans>")
