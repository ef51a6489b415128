import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import SettingsError
from tutelage.records import Problem
from tutelage.select.probes import discriminating_probes


def problems(count):
    return [Problem(text=f"q{i}") for i in range(count)]


# Four configurations, weakest first. q0 is right for all, q1 for none, q2, q3 and q5 only for the able ones, q4 only for the weak ones.
WEAK, ABLE = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
MATRIX = [WEAK, WEAK, ABLE, ABLE]


def test_items_that_only_the_able_solve_are_taken_first():
    chosen, facts = discriminating_probes(problems(6), MATRIX, wanted=3, rng=random.Random(0))
    assert [p.text for p in chosen] == ["q2", "q3", "q5"]
    assert facts == {
        "method": "point_biserial",
        "why": facts["why"],
        "chosen_by_discrimination": 3,
        "drawn_at_random": 0,
        "of": 6,
    }
    assert str(facts["why"]).startswith("point-biserial")


def test_where_fewer_discriminate_than_wanted_the_rest_is_drawn_and_said():
    chosen, facts = discriminating_probes(problems(6), MATRIX, wanted=5, rng=random.Random(0))
    assert [p.text for p in chosen[:3]] == ["q2", "q3", "q5"]
    assert {p.text for p in chosen[3:]} < {"q0", "q1", "q4"}
    assert (facts["chosen_by_discrimination"], facts["drawn_at_random"]) == (3, 2)
    drawn = {tuple(p.text for p in discriminating_probes(problems(6), MATRIX, wanted=5, rng=random.Random(s))[0]) for s in range(20)}
    assert len(drawn) > 1, "the rest is drawn from the stream that was given"


@pytest.mark.parametrize("row", [[1.0] * 4, [0.0] * 4, [1.0, 0.0, 1.0, 0.0]])
def test_where_all_configurations_agree_on_everything_all_are_drawn(row):
    chosen, facts = discriminating_probes(problems(4), [row, row, row], wanted=3, rng=random.Random(1))
    assert len({p.id for p in chosen}) == 3
    assert (facts["chosen_by_discrimination"], facts["drawn_at_random"]) == (0, 3)


def test_one_configuration_alone_cannot_tell_items_apart():
    _, facts = discriminating_probes(problems(4), [[1.0, 0.0, 1.0, 0.0]], wanted=2, rng=random.Random(1))
    assert facts["chosen_by_discrimination"] == 0


@given(
    st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(st.sampled_from((0.0, 1.0)), min_size=n, max_size=n), min_size=1, max_size=5)),
    st.integers(0, 8),
)
def test_as_many_as_wanted_and_there_never_one_twice(matrix, wanted):
    count = len(matrix[0])
    chosen, facts = discriminating_probes(problems(count), matrix, wanted=wanted, rng=random.Random(0))
    assert len(chosen) == len({p.id for p in chosen}) == min(wanted, count)
    assert facts["chosen_by_discrimination"] + facts["drawn_at_random"] == len(chosen)
    assert facts["of"] == count


def test_no_problem_at_all_is_refused():
    with pytest.raises(SettingsError, match="one row and one item"):
        discriminating_probes([], [[]], wanted=3, rng=random.Random(0))
