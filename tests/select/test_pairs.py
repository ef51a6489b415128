import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import SettingsError
from tutelage.records import Feedback, Problem, Prompt, Solution
from tutelage.select.pairs import best_worst_pairs, top_bottom_pairs


def plain(problem):
    return Prompt.user(f"solve {problem.text}")


def liked(solution, value):
    return Feedback(item=solution.id, signal="one_shot", value=value, n=4)


def made(rows):
    """(problem number, text, value) -> solutions and their feedback."""
    solutions = [Solution(problem=Problem(text=f"q{p}", skill=f"s{p % 2}"), text=t, sample=i) for i, (p, t, _) in enumerate(rows)]
    return solutions, [liked(s, v) for s, (_, _, v) in zip(solutions, rows, strict=True)]


value = st.none() | st.sampled_from((0.0, 0.25, 0.5, 0.75, 1.0))
table = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abcd"), value), max_size=24)


# -- best over worst -----------------------------------------------------------------------------------------------------------


def test_the_best_stands_over_the_worst_of_the_same_problem():
    solutions, feedback = made([(0, "good", 1.0), (0, "fair", 0.5), (0, "bad", 0.25), (1, "x", 0.0), (1, "y", 0.75)])
    pairs, dropped = best_worst_pairs(solutions, feedback, prompt=plain)
    assert [(p.chosen, p.rejected, p.margin) for p in pairs] == [("good", "bad", 0.75), ("y", "x", 0.75)]
    assert [p.prompt for p in pairs] == [plain(Problem(text="q0")), plain(Problem(text="q1"))]
    assert [p.kind for p in pairs] == ["rationale", "rationale"]
    assert pairs[0].origin.parents == (solutions[0].id, solutions[2].id)
    assert dropped == {}


@given(table, st.sampled_from((0.0, 0.2, 0.5)))
def test_every_pair_has_its_margin_and_everything_else_is_counted(rows, min_margin):
    solutions, feedback = made(rows)
    pairs, dropped = best_worst_pairs(solutions, feedback, prompt=plain, min_margin=min_margin)
    scored: dict[str, list[float]] = {}
    for s, f in zip(solutions, feedback, strict=True):
        if f.value is not None:
            scored.setdefault(s.problem.id, []).append(f.value)
    for p in pairs:
        assert p.margin is not None
        assert p.margin > min_margin
        assert p.chosen != p.rejected
    by_prompt = {plain(s.problem).id: s.problem.id for s in solutions}
    assert len({p.prompt.id for p in pairs}) == len(pairs), "at most one pair per problem"
    for p in pairs:
        values = scored[by_prompt[p.prompt.id]]
        assert p.margin == max(values) - min(values)
    unscored = sum(f.value is None for f in feedback)
    assert dropped.get("solution without feedback", 0) == unscored
    assert sum(dropped.values()) - unscored + len(pairs) == len(scored)


@given(table, st.randoms())
def test_another_order_of_the_same_drafts_changes_only_the_order_of_pairs(rows, rng):
    seen = set()
    rows = [r for r in rows if r[2] is not None and not ((r[0], r[2]) in seen or seen.add((r[0], r[2])))]  # without ties
    solutions, feedback = made(rows)
    both = list(zip(solutions, feedback, strict=True))
    rng.shuffle(both)
    one, dropped = best_worst_pairs(solutions, feedback, prompt=plain)
    other, dropped_too = best_worst_pairs([s for s, _ in both], [f for _, f in both], prompt=plain)
    assert {p.id for p in one} == {p.id for p in other}
    assert dropped == dropped_too


def test_among_equals_the_first_in_order_is_taken():
    solutions, feedback = made([(0, "a", 0.5), (0, "b", 1.0), (0, "c", 1.0), (0, "d", 0.5)])
    [pair], _ = best_worst_pairs(solutions, feedback, prompt=plain)
    assert (pair.chosen, pair.rejected) == ("b", "a")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([(0, "a", 0.5), (0, "b", 0.5)], "margin at most 0"),
        ([(0, "a", 0.0), (0, "b", 0.0)], "margin at most 0"),
        ([(0, "a", 1.0)], "problem with one scored solution"),
        ([(0, "a", 1.0), (0, "a", 0.0)], "equal texts"),
    ],
)
def test_a_tie_a_lone_solution_and_equal_texts_make_no_pair_and_are_counted(rows, reason):
    assert best_worst_pairs(*made(rows), prompt=plain) == ([], {reason: 1})


def test_a_score_of_zero_is_a_score_and_a_missing_one_is_none():
    pairs, dropped = best_worst_pairs(*made([(0, "a", 0.0), (0, "b", 0.25)]), prompt=plain)
    assert pairs[0].rejected == "a"
    pairs, dropped = best_worst_pairs(*made([(0, "a", None), (0, "b", 0.25), (0, "c", 0.5)]), prompt=plain)
    assert (pairs[0].rejected, dropped) == ("b", {"solution without feedback": 1})


def test_a_margin_must_exceed_the_smallest_one_asked_for():
    rows = [(0, "a", 0.75), (0, "b", 0.25)]
    assert len(best_worst_pairs(*made(rows), prompt=plain, min_margin=0.25)[0]) == 1
    assert best_worst_pairs(*made(rows), prompt=plain, min_margin=0.5) == ([], {"margin at most 0.5": 1})


def test_nothing_gives_nothing():
    assert best_worst_pairs([], [], prompt=plain) == ([], {})


def test_feedback_of_another_length_is_not_guessed_into_place():
    solutions, feedback = made([(0, "a", 0.0), (0, "b", 0.25)])
    with pytest.raises(ValueError, match="shorter"):
        best_worst_pairs(solutions, feedback[:1], prompt=plain)


# -- top over bottom -----------------------------------------------------------------------------------------------------------


def questions(values):
    problems = [Problem(text=f"q{i}", skill="s") for i in range(len(values))]
    prompts = {p.id: Prompt.user(f"write like {p.text}") for p in problems}
    return problems, {p.id: v for p, v in zip(problems, values, strict=True)}, prompts


def write(problems):
    return "\n".join(p.text for p in problems)


def paired(values, *, wanted, seed=0, **options):
    problems, scores, prompts = questions(values)
    return top_bottom_pairs(problems, scores, prompts=prompts, write=write, wanted=wanted, rng=random.Random(seed), **options)


def test_the_top_quarter_stands_over_the_bottom_quarter():
    pairs, dropped = paired([0.1 * i for i in range(8)], wanted=4)
    assert {p.chosen for p in pairs} == {"q6", "q7"}
    assert {p.rejected for p in pairs} == {"q0", "q1"}
    assert Counter(p.chosen for p in pairs) == {"q6": 2, "q7": 2}, "no question comes back before the others have been drawn"
    assert all(p.prompt == Prompt.user(f"write like {p.chosen}") for p in pairs), "a pair owns the prompt that drafted the chosen question"
    assert {p.kind for p in pairs} == {"question"}
    assert dropped == {}


@given(st.lists(value, max_size=30), st.integers(0, 12), st.integers(1, 4), st.sampled_from((0.1, 0.25, 0.5)), st.integers(0, 3))
def test_every_drawn_pair_has_a_margin_or_is_counted(values, wanted, per_reply, quantile, seed):
    pairs, dropped = paired(values, wanted=wanted, per_reply=per_reply, quantile=quantile, seed=seed)
    scored = sorted(v for v in values if v is not None)
    cut = int(len(scored) * quantile)
    assert dropped.get("question without feedback", 0) == len(values) - len(scored)
    assert len(pairs) + sum(n for why, n in dropped.items() if why != "question without feedback") == wanted
    number = {f"q{i}": v for i, v in enumerate(values)}
    for p in pairs:
        chosen, rejected = ([number[q] for q in t.split("\n")] for t in (p.chosen, p.rejected))
        assert len(chosen) == len(rejected) == min(per_reply, cut)
        assert len(set(p.chosen.split("\n"))) == len(chosen), "a reply holds different questions"
        assert p.margin == pytest.approx(sum(chosen) / len(chosen) - sum(rejected) / len(rejected))
        assert p.margin > 0
        assert min(chosen) >= scored[-cut]
        assert max(rejected) <= scored[cut - 1]


@given(st.lists(st.integers(0, 1000), min_size=8, max_size=20, unique=True), st.randoms())
def test_another_order_of_distinct_scores_changes_nothing(values, rng):
    problems, scores, prompts = questions(values)
    one = top_bottom_pairs(problems, scores, prompts=prompts, write=write, wanted=5, rng=random.Random(1))
    rng.shuffle(problems)
    assert top_bottom_pairs(problems, scores, prompts=prompts, write=write, wanted=5, rng=random.Random(1)) == one


def test_all_scores_equal_give_no_pair():
    assert paired([0.5] * 8, wanted=3) == ([], {"no margin": 3})


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.5, 1.0]])
def test_too_few_questions_for_a_quarter_are_counted(values):
    assert paired(values, wanted=3) == ([], {"too few questions for the top 25%": 3})


def test_none_wanted_gives_none():
    assert paired([0.0, 0.25, 0.5, 1.0], wanted=0) == ([], {})


def test_questions_without_feedback_take_no_part():
    pairs, dropped = paired([None, None, 0.0, 0.5, 0.75, 1.0], wanted=1)
    assert (pairs[0].chosen, pairs[0].rejected) == ("q5", "q2")
    assert dropped == {"question without feedback": 2}


def test_halves_do_not_overlap_and_more_than_half_is_refused():
    pairs, _ = paired([0.0, 0.25, 0.5, 1.0], wanted=6, quantile=0.5)
    assert {p.chosen for p in pairs} == {"q2", "q3"}
    for quantile in (0.51, 1.0, 1.5, 0.0, -0.25):
        with pytest.raises(SettingsError, match="quantile"):
            paired([0.0, 0.25, 0.5, 1.0], wanted=1, quantile=quantile)


def test_a_question_named_twice_counts_once_and_the_draw_ends():
    problems, scores, prompts = questions([0.0, 0.25, 0.5, 1.0])
    twice = [p for p in problems for _ in range(2)]
    pairs, dropped = top_bottom_pairs(twice, scores, prompts=prompts, write=write, wanted=2, per_reply=3, rng=random.Random(0))
    assert [(p.chosen, p.rejected) for p in pairs] == [("q3", "q0")] * 2
    assert dropped == {}


def test_another_stream_draws_other_pairs_and_the_same_one_the_same():
    values = [i / 40 for i in range(40)]
    assert paired(values, wanted=5, seed=1) == paired(values, wanted=5, seed=1)
    assert paired(values, wanted=5, seed=1) != paired(values, wanted=5, seed=2)
