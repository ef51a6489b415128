"""What orders show, balanced trees, and engines that ask no teacher."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counting_student import SEED, SKILLS, VALIDATION, classroom, engine, problem
from tutelage.classroom import Alternating, BalancedFill, Nothing, Random, SkillList, WeakestErrors, run_episode
from tutelage.classroom.environment import area, repeating_engine, stored_engine
from tutelage.errors import SettingsError
from tutelage.generate.practice import Order
from tutelage.records import Solution


def draw(round_):
    return random.Random(round_)


def shown_by(policy):
    policy.start()
    return [tuple(x.id for x in o.shown) for o in policy.plan(classroom(start_from_seed=True).reset())]


@pytest.mark.parametrize("kind", [Random, WeakestErrors, SkillList, Alternating, BalancedFill])
def test_no_two_orders_of_a_plan_show_the_same_while_there_is_another_way(kind):
    # Three seed problems per skill can be put in six orders; a tree shows two of them before a part's own, in two orders.
    rows = 12 if kind in (Alternating, BalancedFill) else 6
    shown = shown_by(kind(rows=rows, per_order=1, draw=draw))
    assert len(shown) == rows
    assert len(set(shown)) == len(shown)


@given(st.integers(0, 10**6))
def test_orders_differ_whatever_is_drawn(number):
    shown = shown_by(Alternating(rows=12, per_order=1, draw=lambda round_: random.Random(number)))
    assert len(set(shown)) == 12


def test_a_tree_shows_the_problem_of_its_part_last_after_others_of_the_skill():
    policy = Alternating(rows=12, per_order=1, draw=draw)
    for order in policy.plan(classroom(start_from_seed=True).reset()):
        assert order.shown[-1].id in {part.model.id for part in policy.trees[order.skill]}
        assert len({x.id for x in order.shown}) == 3
        assert {x.problem.skill for x in order.shown} == {order.skill}


def test_a_balanced_tree_grows_to_its_number_of_parts_and_fills_them_evenly():
    policy = BalancedFill(rows=12, per_order=100, draw=draw, tree_rows=14, new_parts=2, most_parts=3)
    room = classroom(rounds_at_most=6, rows_at_most=1000)
    history = [room.reset()]
    for _ in range(6):  # on, where an episode would end because nothing is wrong any more
        history.append(room.step(engine(policy.plan(history[-1]), history[-1].round)))
    assert [len(b.rows) - len(a.rows) for a, b in pairwise(history)] == [12, 12, 12, 6, 0, 0]
    for tree in policy.trees.values():
        assert len(tree) == 3
        assert sorted(part.rows for part in tree) == [4, 5, 5]


def test_parts_with_fewer_rows_are_filled_first():
    policy = BalancedFill(rows=9, per_order=100, draw=draw, tree_rows=100, new_parts=2, most_parts=3)
    room = classroom(rounds_at_most=3, rows_at_most=1000)
    seen = [room.reset()]
    for _ in range(3):
        seen.append(room.step(engine(policy.plan(seen[-1]), seen[-1].round)))
    assert {skill: sorted(p.rows for p in tree) for skill, tree in policy.trees.items()} == {skill: [3, 3, 3] for skill in SKILLS}


def test_without_orders_every_round_is_the_first_one():
    history = run_episode(classroom(start_from_seed=True, rounds_at_most=3), Nothing(), engine)
    assert len(history) == 4
    assert {x.rows for x in history} == {tuple(SEED)}
    assert len({x.accuracy for x in history}) == 1


# -- engines that ask no teacher -----------------------------------------------------------------------------------------------


def orders(*wanted):
    return [Order(skill="easy", wanted=n, shown=(SEED[0],)) for n in wanted]


def test_the_seed_is_repeated_evenly_over_the_rounds():
    write = repeating_engine(SEED)
    rows = [*write(orders(4, 3), 0), *write(orders(11), 1)]
    assert Counter(x.id for x in rows) == dict.fromkeys((x.id for x in SEED), 2)
    assert rows[:9] == SEED


def test_stored_rows_are_handed_out_once_each():
    stored = [Solution(problem=problem("easy", i, "stored"), text="right", answer="right") for i in range(10)]
    write = stored_engine(stored, rng=random.Random(0))
    first, second, third = write(orders(3, 1), 0), write(orders(5), 1), write(orders(5), 2)
    assert [len(first), len(second), len(third)] == [4, 5, 1]
    assert sorted(x.id for x in (*first, *second, *third)) == sorted(x.id for x in stored)
    assert stored_engine(stored, rng=random.Random(0))(orders(4), 0) == first


# -- the curve that no policy sees ---------------------------------------------------------------------------------------------


def test_held_back_problems_are_asked_every_round_and_stand_in_no_observation():
    held_back = [problem(skill, i, "h") for skill in SKILLS for i in range(4)]
    room = classroom(held_back=held_back)
    history = run_episode(room, Random(rows=10, per_order=3, draw=draw), engine)
    assert len(room.curve) == len(history)
    # The counting student tells no split from another, so the curve is known.
    assert room.curve == [seen.accuracy for seen in history]
    texts = {p.text for p in held_back}
    for seen in history:
        assert not texts & {x.problem.text for x in (*seen.answers, *seen.seed, *seen.rows)}
    room.reset()
    assert room.curve == [0.0]
    assert run_episode(classroom(), Random(rows=10, per_order=3, draw=draw), engine) == history


def test_a_problem_that_the_policy_sees_is_not_held_back():
    with pytest.raises(SettingsError, match="held-back"):
        classroom(held_back=VALIDATION[:1])


def test_an_area_leaves_out_the_value_before_any_new_row():
    assert area([0.9, 0.2, 0.4], rounds_at_most=2) == pytest.approx(0.3)
    assert area([0.9, 0.2, 0.4], rounds_at_most=4) == pytest.approx(0.35)
    assert area([0.9], rounds_at_most=4) == 0.9
    with pytest.raises(SettingsError):
        area([], rounds_at_most=4)
