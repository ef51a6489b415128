import pytest

from tutelage.records import Problem, Solution
from tutelage.select.rewarded import best_rated, best_rewarded, by_question, dealt, right_over_wrong

P, Q = Problem(text="p"), Problem(text="q")


def said(problem, text):
    return Solution(problem=problem, text=text)


def test_right_solutions_stand_over_wrong_ones_of_the_same_question():
    marked = [(said(P, "1"), True), (said(P, "2"), False), (said(Q, "3"), True), (said(P, "4"), False), (said(P, "5"), True)]
    assert [(a.text, b.text) for a, b in right_over_wrong(marked, most=2)] == [("1", "2"), ("5", "4")]
    assert [(a.text, b.text) for a, b in right_over_wrong(marked, most=1)] == [("1", "2")]
    assert right_over_wrong([], most=1) == []


def test_one_text_is_used_once():
    marked = [(said(P, "1"), True), (said(P, "1"), True), (said(P, "2"), False), (said(P, "3"), False)]
    assert len(right_over_wrong(marked, most=9)) == 1


def test_the_best_is_the_highest_the_first_of_equals_and_never_an_unrated_one():
    rows = [(said(P, "a"), False, None), (said(P, "b"), True, 0.0), (said(P, "c"), True, 0.0)]
    assert best_rewarded(rows)[0].text == "b"
    assert best_rewarded([(said(P, "a"), False, None), (said(P, "b"), True, None)])[0].text == "a"
    assert [[x.text for x, _, _ in g] for g in by_question([*rows, (said(Q, "d"), True, 1.0), (said(P, "e"), True, 2.0)])] == [
        ["a", "b", "c", "e"],
        ["d"],
    ]


def test_best_rated_texts_are_different_ones():
    assert best_rated(["x", "y", "x", "z"], [1.0, 3.0, 2.0, None], 3) == ["y", "x", "z"]
    assert best_rated(["x", "y"], [None, 0.0], 1) == ["y"]
    assert best_rated([], [], 2) == []


@pytest.mark.parametrize("places", [[1, 4], [0, 3, 5, 6], [2, 3, 5, 7, 11]])
def test_a_dealt_critique_is_anothers_and_its_verdict_says_nothing_of_the_label(places: list[int]) -> None:
    given = dealt(places)
    assert sorted(giver for giver, _ in given) == places
    assert all(giver != place for (giver, _), place in zip(given, places, strict=True))
    assert sum(turned for _, turned in given) == len(places) // 2
