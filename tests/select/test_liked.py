"""Choosing the best-liked of scored solutions."""

from tutelage.records import Feedback, Problem, Solution
from tutelage.select.liked import top_liked, worthiest_of_each


def scored(*rows):
    """(skill, question, rationale, score) -> solutions with feedback."""
    out = []
    for skill, question, text, value in rows:
        solution = Solution(problem=Problem(text=question, skill=skill), text=text)
        out.append((solution, Feedback(item=solution.id, signal="one_shot", value=value)))
    return out


ROWS = scored(
    ("a", "p", "p low", 0.1),
    ("a", "p", "p high", 0.9),
    ("a", "q", "q", 0.5),
    ("b", "r", "r", 1.0),
    ("a", "s", "unscored", None),
    ("a", "z", "zero", 0.0),
)


def test_the_top_are_of_different_questions_and_of_the_skill():
    assert top_liked(ROWS, "a", 2) == [("p", "p high"), ("q", "q")]
    assert top_liked(ROWS, "a", 9) == [("p", "p high"), ("q", "q"), ("z", "zero")]
    assert top_liked(ROWS, "c", 3) == []
    assert top_liked(scored(("a", "p", "first", 0.5), ("a", "p", "second", 0.5)), "a", 1) == [("p", "first")]


def test_each_question_gives_its_best_and_is_repeated_up_to_the_number():
    chosen = [x.text for x in worthiest_of_each(ROWS, [f.value for _, f in ROWS], wanted=4)]
    assert chosen == ["p high", "q", "zero", "p high", "r", "r", "r", "r"]
    assert worthiest_of_each([], [], wanted=3) == []
    assert [x.text for x in worthiest_of_each(ROWS, [f.value for _, f in ROWS], wanted=1)] == ["p high", "r"]
