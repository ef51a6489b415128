"""Choosing among the drafts of a question, by score, by technique and by lot."""

from __future__ import annotations

from tutelage.recipes import arte
from tutelage.records import Feedback, Problem, Solution
from tutelage.seeds import stream
from tutelage.select.liked import worthiest_of_each


def drafts() -> list[tuple[Solution, Feedback]]:
    """Two questions, two techniques; `long` is liked best on the whole, `short` on the second question."""
    values = {("q1", "long"): 0.9, ("q1", "short"): 0.1, ("q2", "long"): 0.4, ("q2", "short"): 0.5}
    found = []
    for (question, technique), value in values.items():
        solution = Solution(problem=Problem(text=question, answer="1", skill="s"), text=f"{question} {technique}", technique=technique)
        found.append((solution, Feedback(item=solution.id, signal="one_shot", value=value, n=4)))
    return found


def chosen(align: str, seed: int = 0, wanted: int = 2) -> list[str]:
    liked = drafts()
    worth = arte._worth(align, liked, lambda *names: stream(seed, *names))
    return [x.text for x in worthiest_of_each(liked, worth, wanted=wanted)]


def test_the_most_preferred_draft_may_differ_in_technique_from_question_to_question():
    assert chosen("most_preferred") == ["q1 long", "q2 short"]


def test_one_technique_is_the_one_liked_best_on_the_whole():
    assert chosen("one_technique") == ["q1 long", "q2 long"]


def test_a_random_draft_follows_the_seed_and_nothing_else():
    assert chosen("random_draft", seed=3) == chosen("random_draft", seed=3)
    seen = {tuple(chosen("random_draft", seed=s)) for s in range(40)}
    assert len(seen) == 4, "every draft of every question is drawn sometimes"


def test_drafts_are_repeated_where_more_examples_are_wanted():
    assert chosen("most_preferred", wanted=5) == ["q1 long", "q2 short", "q1 long", "q2 short", "q1 long"]
