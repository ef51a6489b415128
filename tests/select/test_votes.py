"""Votes among answers, pairs by margin, and questions alike."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.records import Problem, Prompt, Solution
from tutelage.select.margins import margin_pairs
from tutelage.select.similar import most_alike
from tutelage.select.votes import elected, same_answers

PROBLEM = Problem(text="q", answer="4")


def drawn(*answers):
    return [Solution(problem=PROBLEM, text=f"{i}: {a}", answer=a, sample=i) for i, a in enumerate(answers)]


def same(solution, answer):
    return solution.answer.strip("0.") == answer.strip("0.")


def test_equal_answers_are_one_group_and_unreadable_ones_have_no_vote():
    assert same_answers(drawn("4", None, "4.0", "5", "4"), same) == [[0, 2, 4], [3]]
    assert same_answers(drawn(None, None), same) == []
    assert elected([], []) == []


def test_the_three_ways_to_elect():
    groups = [[0, 1, 2], [3, 4], [5]]
    weights = [0.1, 0.1, 0.1, 0.3, 0.4, 0.6]
    assert elected(groups, weights, by="count") == [0, 1, 2]
    assert elected(groups, weights, by="sum") == [4, 3]
    assert elected(groups, weights, by="max") == [5]


def test_ties_go_to_the_commoner_then_the_earlier_answer_and_a_missing_weight_is_none():
    assert elected([[0], [1, 2]], [0.5, 0.25, 0.25]) == [1, 2]
    assert elected([[0], [1]], [0.5, 0.5]) == [0]
    assert elected([[0, 1], [2]], [None, None, 0.1]) == [2]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), min_size=1, max_size=9))
def test_who_is_elected_has_the_greatest_sum(votes):
    solutions = drawn(*(a for a, _ in votes))
    weights = [w for _, w in votes]
    groups = same_answers(solutions, lambda x, a: False)
    won = elected(groups, weights)
    total = {}
    for answer, weight in votes:
        total[answer] = total.get(answer, 0.0) + weight
    assert total[solutions[won[0]].answer] >= max(total.values()) - 1e-9
    assert [weights[i] for i in won] == sorted((weights[i] for i in won), reverse=True)


def pairs_of(scores, *, above=0.3, at_most=8, texts=None):
    solutions = [Solution(problem=PROBLEM, text=texts[i] if texts else f"t{i}", sample=i) for i in range(len(scores))]
    return margin_pairs(solutions, scores, prompt=lambda p: Prompt.user(p.text), above=above, at_most=at_most)


def test_pairs_need_a_margin_and_two_texts():
    pairs, dropped = pairs_of([1.0, 0.8, 0.5, None])
    assert {(p.chosen, p.rejected) for p in pairs} == {("t0", "t2")}
    assert pairs[0].margin == 0.5
    assert dropped == {"solution without a score": 1}
    assert pairs_of([1.0, 0.0], texts=["a", "a"]) == ([], {"problem without a margin above 0.3": 1})
    assert pairs_of([0.5, 0.25], above=0.25)[0] == []


def test_no_rationale_stands_in_all_pairs():
    pairs, dropped = pairs_of([1.0, 0.9, 0.8, 0.0, 0.1, 0.2], at_most=3)
    assert {p.chosen for p in pairs} == {"t0", "t1", "t2"}
    assert {p.rejected for p in pairs} == {"t3", "t4", "t5"}
    assert dropped == {"more than needed": 6}


def named(*texts, skill=""):
    return [Problem(text=t, skill=skill) for t in texts]


POOL = named("red apples and pears", "how many trains leave", "trains that leave at noon", "red trains")


def test_the_most_alike_come_first_and_the_question_itself_never():
    [asked] = named("how many  trains leave")
    assert [p.text for p in most_alike([asked], POOL, wanted=2)[asked.id]] == ["trains that leave at noon", "red trains"]
    assert [p.text for p in most_alike([asked], POOL, wanted=1, farthest=True)[asked.id]] == ["red apples and pears"]
    assert len(most_alike([asked], POOL, wanted=9)[asked.id]) == 3


def test_only_questions_of_the_same_skill_are_alike_and_words_that_all_share_say_little():
    asked = Problem(text="the trains", skill="x")
    pool = [*named("the trains leave", skill="y"), *named("the apples the pears", "trains", skill="x")]
    assert [p.text for p in most_alike([asked], pool, wanted=2)[asked.id]] == ["trains", "the apples the pears"]
    assert most_alike([asked], named("the trains leave", skill="y"), wanted=1) == {asked.id: []}
    assert most_alike([], POOL, wanted=1) == {}
    assert len(most_alike(named("?!"), named("...", "so"), wanted=2)[named("?!")[0].id]) == 2
