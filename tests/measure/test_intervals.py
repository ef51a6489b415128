"""Intervals against scipy, against their own promises by simulation, and at their edges."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tutelage.errors import SettingsError
from tutelage.measure import bootstrap_mean, holm, paired_bootstrap, paired_t, t_interval, wilson


def test_t_interval_by_hand():
    # mean 2, sd 1, n 3; t(0.975, 2) = 4.302653
    found = t_interval([1.0, 2.0, 3.0])
    assert (found.value, found.n) == (2.0, 3)
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert not found.excludes_zero
    assert found.p_value is None


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=12).filter(lambda v: max(v) - min(v) > 1e-3))
@settings(deadline=None)
def test_paired_t_equals_scipy(values):
    theirs = stats.ttest_1samp(values, 0.0)
    low, high = theirs.confidence_interval(0.9)
    ours = paired_t(values, level=0.9)
    assert ours.low == pytest.approx(low, abs=1e-9)
    assert ours.high == pytest.approx(high, abs=1e-9)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-9)


def test_one_or_no_value_has_no_interval():
    for interval in (t_interval, paired_t, bootstrap_mean):
        one, none = interval([0.4]), interval([])
        assert (one.value, one.low, one.high, one.n, one.half_width) == (0.4, None, None, 1, None)
        assert (none.value, none.low, none.n) == (None, None, 0)
        assert not one.excludes_zero
        assert not none.excludes_zero
    assert paired_t([0.4]).p_value is None


def test_equal_values_have_an_interval_without_width():
    same = paired_t([0.5, 0.5, 0.5])
    assert (same.low, same.high, same.p_value) == (0.5, 0.5, 0.0)
    assert same.excludes_zero
    nothing = paired_t([0.0, 0.0])
    assert nothing.p_value == 1.0
    assert not nothing.excludes_zero
    assert bootstrap_mean([1.0, 1.0]).half_width == 0.0


def test_bootstrap_of_coin_flips_is_close_to_the_normal_interval_and_repeats():
    items = [1.0] * 60 + [0.0] * 140
    found = bootstrap_mean(items, seed=3)
    expected = 1.96 * math.sqrt(0.3 * 0.7 / 200)
    assert found.value == pytest.approx(0.3)
    assert found.half_width == pytest.approx(expected, rel=0.06)
    shuffled = items[:]
    random.Random(0).shuffle(shuffled)
    assert bootstrap_mean(shuffled, seed=3) == found
    assert bootstrap_mean(items, seed=4) != found


def test_bootstrap_in_chunks_covers_every_resample():
    # 60 000 items force several chunks; the standard error of the mean is known.
    rng = random.Random(5)
    items = [rng.random() for _ in range(60_000)]
    found = bootstrap_mean(items, resamples=200, level=0.68)
    assert found.half_width == pytest.approx(math.sqrt(1 / 12 / 60_000), rel=0.25)


def test_paired_bootstrap_uses_the_pairing():
    rng = random.Random(2)
    theirs = [rng.random() for _ in range(100)]
    ours = [v + 0.1 for v in theirs]
    assert paired_bootstrap(ours, theirs).low == pytest.approx(0.1)
    unpaired = bootstrap_mean(ours)
    assert unpaired.half_width is not None
    assert unpaired.half_width > 0.03
    with pytest.raises(SettingsError, match="same items"):
        paired_bootstrap([1.0], [])


def test_wilson_equals_scipy_and_stays_honest_at_the_ends():
    for right, n in [(0, 10), (3, 10), (10, 10), (1, 1), (250, 1000)]:
        theirs = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
        ours = wilson(right, n)
        assert ours.low == pytest.approx(theirs.low, abs=1e-12)
        assert ours.high == pytest.approx(theirs.high, abs=1e-12)
    assert wilson(0, 0).value is None
    with pytest.raises(SettingsError, match="right <= n"):
        wilson(3, 2)


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04 -> 0.04 0.06 0.06 0.06
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.2]) == [0.2]
    with pytest.raises(SettingsError):
        holm([1.5])


@given(st.lists(st.floats(0, 1), max_size=8))
@settings(deadline=None)
def test_holm_equals_a_slow_twin(p_values):
    # Reject at alpha exactly when the step-down procedure, followed to the letter, rejects.
    adjusted = holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        order = sorted(range(len(p_values)), key=lambda i: p_values[i])
        for step, index in enumerate(order):
            if p_values[index] * (len(p_values) - step) > alpha:
                break
            rejected.add(index)
        assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_an_impossible_level_is_refused(level):
    for call in (
        lambda: t_interval([1.0, 2.0], level=level),
        lambda: wilson(1, 2, level=level),
        lambda: bootstrap_mean([1.0], level=level),
    ):
        with pytest.raises(SettingsError, match="level"):
            call()


def test_nan_and_too_few_resamples_are_refused():
    with pytest.raises(SettingsError, match="finite"):
        paired_t([0.1, math.nan])
    with pytest.raises(SettingsError, match="resamples"):
        bootstrap_mean([0.1, 0.2], resamples=10)


def test_coverage_of_the_paired_t_interval():
    # 95 % of intervals over 6 seeds hold the truth: 400 repeats, binomial error about 1.1 points.
    rng = random.Random(7)
    hits = 0
    for _ in range(400):
        found = paired_t([rng.gauss(0.3, 1.0) for _ in range(6)])
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.3 <= found.high
    assert 0.92 <= hits / 400 <= 0.98
