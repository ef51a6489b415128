import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import SettingsError
from tutelage.select.balance import apportion
from tutelage.select.budget_ratio import PUBLISHED, best_strategy, crossover, published_switch


@pytest.mark.parametrize(("seeds", "switch"), PUBLISHED)
def test_the_published_points_are_hit(seeds, switch):
    assert published_switch(seeds) == pytest.approx(switch)


def test_between_the_points_the_switch_is_linear_in_the_logarithm_and_beyond_them_constant():
    assert published_switch(round(math.sqrt(100 * 1000))) == pytest.approx((39 + 17.6) / 2, abs=0.05)
    assert published_switch(1) == published_switch(100) == 39.0
    assert published_switch(10**6) == 16.4
    with pytest.raises(SettingsError):
        published_switch(0)


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_more_seeds_never_switch_later(a, b):
    low, high = sorted((a, b))
    assert published_switch(low) >= published_switch(high)


@pytest.mark.parametrize(
    ("ratio", "strong", "named"), [(1, True, "answers"), (1, False, "answers"), (2, True, "new"), (2, False, "rephrased"), (9, True, "new")]
)
def test_the_rule(ratio, strong, named):
    assert best_strategy(ratio, switch=2.0, strong_writer=strong) == named


def test_the_crossover_is_interpolated_in_the_logarithm():
    assert crossover([1, 4, 16], [0.5, 0.5, 0.5], [0.4, 0.4, 0.6]) == pytest.approx(8.0)
    assert crossover([1, 4], [0.5, 0.5], [0.6, 0.4]) == 1.0
    assert crossover([1, 4], [0.5, 0.5], [0.4, 0.5]) is None
    assert crossover([], [], []) is None


@pytest.mark.parametrize("wrong", [([1, 2], [0.1], [0.1, 0.2]), ([2, 1], [0, 0], [0, 0]), ([0, 1], [0, 0], [0, 0])])
def test_curves_that_are_none_are_refused(wrong):
    with pytest.raises(SettingsError):
        crossover(*wrong)


# -- shares --------------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.lists(st.floats(0, 100), max_size=9))
def test_shares_add_up_and_are_off_by_less_than_one(total, weights):
    found = apportion(total, weights)
    assert len(found) == len(weights)
    if weights:
        assert sum(found) == total
        whole = sum(weights)
        for share, weight in zip(found, weights, strict=True):
            exact = total * weight / whole if whole > 0 else total / len(weights)
            assert abs(share - exact) < 1 + 1e-6


def test_shares_by_hand():
    assert apportion(10, [1, 1, 1]) == [4, 3, 3]
    assert apportion(10, [0.0, 0.5, 0.75]) == [0, 4, 6]
    assert apportion(3, [0, 0]) == [2, 1]
    with pytest.raises(SettingsError):
        apportion(-1, [1.0])
    with pytest.raises(SettingsError):
        apportion(1, [-1.0])
