"""The classroom with a student that is a count of what it was taught: every rule in milliseconds."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counting_student import SEED, SKILLS, VALIDATION, classroom, engine
from tutelage.classroom import Alternating, BalancedFill, LookAlikes, Random, SkillList, WeakestErrors, run_episode
from tutelage.classroom.environment import area, best_round, gains
from tutelage.errors import SettingsError
from tutelage.records import Solution


def draw(round_):
    return random.Random(round_)


POLICIES = {
    "random": Random(rows=10, per_order=3, draw=draw),
    "open-ended": WeakestErrors(rows=10, per_order=3, draw=draw),
    "skill list": SkillList(rows=10, per_order=3, draw=draw),
    "skill tree": Alternating(rows=10, per_order=3, draw=draw),
    "balanced fill": BalancedFill(rows=10, per_order=3, draw=draw),
    "llm2llm": LookAlikes(rows=10, draw=draw),
}


# -- the contract --------------------------------------------------------------------------------------------------------------


def test_rows_are_accumulated_exactly_and_every_student_is_trained_from_the_base():
    trained = []
    room = classroom(trained)
    room.reset()
    first = engine([next(iter(POLICIES["random"].plan(room.last)))], 0)
    second = engine([next(iter(POLICIES["random"].plan(room.last)))], 1)
    room.step(first)
    seen = room.step(second)
    assert seen.rows == (*first, *second)
    assert [(base, list(rows)) for base, rows in trained] == [(Counter(), first), (Counter(), [*first, *second])]
    assert seen.round == 2


def test_reset_is_idempotent_and_forgets_the_rows():
    room = classroom()
    first = room.reset()
    assert room.reset() == first
    room.step(engine(POLICIES["random"].plan(first), 0))
    assert room.student != Counter()
    assert room.reset() == first
    assert room.student == Counter()
    assert (first.round, first.rows, first.accuracy) == (0, (), 0.0)


def test_a_classroom_can_start_from_its_seed():
    room = classroom(start_from_seed=True, rows_at_most=5)
    seen = room.reset()
    assert seen.rows == tuple(SEED)
    assert seen.by_skill == {"easy": 1.0, "fair": 0.5, "hard": 0.25}
    assert not room.spent, "the seed is not counted among the new rows"


def test_rows_that_give_away_a_problem_are_left_out_and_counted():
    room = classroom(refuse=lambda texts: ["leak: equal" if t.startswith("v ") else None for t in texts])
    room.reset()
    leaked = Solution(problem=VALIDATION[0], text="right", answer="right")
    clean = engine([next(iter(POLICIES["random"].plan(room.last)))], 0)
    seen = room.step([leaked, *clean])
    assert seen.rows == tuple(clean)
    assert room.refused == {"leak: equal": 1}
    room.reset()
    assert room.refused == {}


def test_an_episode_ends_when_rounds_or_rows_are_used_up_or_nothing_is_wrong():
    assert len(run_episode(classroom(rounds_at_most=2), POLICIES["random"], engine)) == 3
    assert len(run_episode(classroom(rows_at_most=15), POLICIES["random"], engine)) == 3
    history = run_episode(classroom(rounds_at_most=50, rows_at_most=1000), POLICIES["skill list"], engine)
    assert history[-1].accuracy == 1.0
    assert history[-2].accuracy < 1.0


def test_a_step_before_the_first_reset_is_refused():
    with pytest.raises(SettingsError, match="begins with reset"):
        classroom().step([])


@pytest.mark.parametrize("wrong", [{"rounds_at_most": 0}, {"rows_at_most": 0}])
def test_a_classroom_without_rounds_or_rows_is_refused(wrong):
    with pytest.raises(SettingsError):
        classroom(**wrong)


# -- policies ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_policy_orders_as_many_rows_as_it_may_and_lives_the_same_episode_twice(policy):
    history = run_episode(classroom(), policy, engine)
    for before, after in pairwise(history):
        wanted = 0 if isinstance(policy, LookAlikes) and not before.missed else 10
        assert len(after.rows) - len(before.rows) == wanted
    assert run_episode(classroom(), policy, engine) == history


def test_policies_with_state_teach_the_counting_student_faster_than_the_one_without():
    def lived(policy, life):
        again = type(policy)(rows=10, draw=lambda round_: random.Random(f"{life} {round_}"), **_more(policy))
        return area([seen.accuracy for seen in run_episode(classroom(), again, engine)], rounds_at_most=4)

    areas = {name: sum(lived(policy, life) for life in range(20)) for name, policy in POLICIES.items()}
    assert areas["open-ended"] > areas["random"]
    assert areas["skill list"] > areas["random"]


def _more(policy):
    return {} if isinstance(policy, LookAlikes) else {"per_order": 3}


def test_the_open_ended_policy_orders_for_skills_with_errors_and_shows_them():
    room = classroom(start_from_seed=True)
    orders = POLICIES["open-ended"].plan(room.reset())
    assert {o.skill for o in orders} <= {"fair", "hard"}
    for order in orders:
        assert {p.skill for p in order.missed} == {order.skill}
        assert {x.problem.skill for x in order.shown} == {order.skill}
        assert not {p.id for p in order.missed} & {x.problem.id for x in order.shown}


def test_the_policy_without_state_shows_no_error():
    assert all(o.missed == () for o in POLICIES["random"].plan(classroom().reset()))


def test_the_skill_list_deals_rows_by_error_rate_and_asks_for_hypotheses_where_there_are_errors():
    asked = []

    def name(skill, errors, known, count, round_):
        asked.append((skill, len(errors), count))
        return [f"{skill} lacks {i}" for i in range(2)]

    policy = SkillList(rows=10, per_order=2, draw=draw, name=name, hypotheses=4)
    orders = policy.plan(classroom(start_from_seed=True).reset())
    rows = Counter()
    for order in orders:
        rows[order.skill] += order.wanted
    assert rows == {"fair": 4, "hard": 6}  # error rates 0, 1/2 and 3/4
    assert asked == [("fair", 2, 4), ("hard", 3, 4)]
    assert [o.focus for o in orders] == ["fair lacks 0", "fair lacks 1", "hard lacks 0", "hard lacks 1", "hard lacks 0"]


def test_the_tree_explores_and_exploits_in_turn_and_stops_growing():
    policy = Alternating(rows=12, per_order=100, draw=draw, tree_rows=8, new_parts=2)
    history = run_episode(classroom(rounds_at_most=6, rows_at_most=1000), policy, engine)
    assert {skill: len(tree) for skill, tree in policy.trees.items()} == dict.fromkeys(SKILLS, 2)
    assert {skill: sum(p.rows for p in tree) for skill, tree in policy.trees.items()} == dict.fromkeys(SKILLS, 8)
    assert [len(b.rows) - len(a.rows) for a, b in pairwise(history)][:3] == [12, 12, 0]
    assert policy.gained == gains(history)[: len(policy.gained)]
    assert policy.gained


def test_the_tree_models_every_part_on_another_seed_problem_while_there_are_any():
    policy = Alternating(rows=6, per_order=100, draw=draw, tree_rows=1000, new_parts=1)
    run_episode(classroom(rounds_at_most=5, rows_at_most=1000), policy, engine)
    for tree in policy.trees.values():
        models = [p.model.id for p in tree]
        assert len(models) == len(set(models)) == 3


def test_the_tree_takes_the_names_that_the_teacher_gives_its_parts():
    policy = Alternating(rows=6, per_order=100, draw=draw, name=lambda skill, shown, known, count, round_: [f"{skill} {len(known)}"])
    orders = policy.plan(classroom().reset())
    assert {o.focus for o in orders} == {"", "easy 0", "fair 0", "hard 0"}


def test_look_alikes_are_ordered_of_missed_seed_problems_and_of_nothing_else():
    room = classroom(start_from_seed=True)
    seen = room.reset()
    missed = {SEED[place].id for place in seen.missed}
    for policy in (LookAlikes(draw=draw, each=2), LookAlikes(draw=draw, rows=7)):
        orders = policy.plan(seen)
        assert {o.shown[0].id for o in orders} <= missed
        assert all(len(o.shown) == 1 for o in orders)
    assert [o.wanted for o in LookAlikes(draw=draw, each=2).plan(seen)] == [2] * len(missed)
    assert sum(o.wanted for o in LookAlikes(draw=draw, rows=7).plan(seen)) == 7


# -- what an episode was worth -------------------------------------------------------------------------------------------------


def test_the_best_round_is_the_first_of_equals():
    history = run_episode(classroom(rounds_at_most=30, rows_at_most=1000), POLICIES["skill list"], engine)
    best = best_round([*history, *history[-1:]])
    assert best == history[-1]
    assert best_round(history[:1]) == history[0]


def test_an_episode_that_ended_early_stays_where_it_ended():
    history = run_episode(classroom(rounds_at_most=2), POLICIES["skill list"], engine)
    a, b = history[1].accuracy, history[2].accuracy
    assert area([seen.accuracy for seen in history], rounds_at_most=4) == pytest.approx((a + 3 * b) / 4)


@given(st.integers(0, 40), st.integers(1, 12), st.sampled_from(sorted(POLICIES)))
def test_orders_never_exceed_what_one_call_may_hold(rows, per_order, name):
    kind = type(POLICIES[name])
    policy = kind(rows=rows, draw=draw) if kind is LookAlikes else kind(rows=rows, per_order=per_order, draw=draw)
    policy.start()
    orders = policy.plan(classroom(start_from_seed=True).reset())
    if kind is not LookAlikes:
        assert sum(o.wanted for o in orders) == rows
        assert all(0 < o.wanted <= per_order for o in orders)
