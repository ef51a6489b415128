"""Chi-square tests against scipy's, and that they can fail."""

import random
from collections import Counter
from typing import Any

import pytest
from scipy.stats import chi2_contingency, chisquare

from tutelage.errors import SettingsError
from tutelage.measure.chi_square import goodness_of_fit, same_distribution

WORLD = {"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.04, "e": 0.01}


def draws(weights, n, seed):
    return Counter(random.Random(seed).choices(list(weights), list(weights.values()), k=n))


def test_fit_is_scipys_where_every_cell_is_large():
    seen = draws(WORLD, 2000, 0)
    ours = goodness_of_fit(seen, WORLD)
    theirs = chisquare([seen[k] for k in WORLD], [2000 * p for p in WORLD.values()])
    assert ours.statistic == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert ours.freedom == 4


def test_rare_and_unnamed_outcomes_share_a_cell():
    seen = draws(WORLD, 200, 1)
    ours = goodness_of_fit(seen, {k: p for k, p in WORLD.items() if k != "c"})
    rest = 200 - seen["a"] - seen["b"] - seen["d"]
    theirs = chisquare([seen["a"], seen["b"], seen["d"], rest], [100, 60, 8, 32])
    assert ours.statistic == pytest.approx(theirs.statistic)


def test_p_values_are_spread_evenly_where_nothing_is_wrong_and_vanish_where_something_is():
    values = [goodness_of_fit(draws(WORLD, 500, seed), WORLD).p_value for seed in range(200)]
    assert 0.02 <= sum(p < 0.1 for p in values) / 200 <= 0.2
    assert 0.4 <= sum(p < 0.5 for p in values) / 200 <= 0.6
    tilted = WORLD | {"a": 0.45, "b": 0.35}
    assert goodness_of_fit(draws(tilted, 5000, 3), WORLD).p_value < 1e-6
    never = Counter({"a": 50, "b": 49, "z": 1})
    assert goodness_of_fit(never, {"a": 0.5, "b": 0.5}).p_value == 0.0


def test_homogeneity_is_scipys():
    one, other = draws(WORLD, 3000, 4), draws(WORLD, 2000, 5)
    ours = same_distribution(one, other)
    theirs: Any = chi2_contingency([[c[k] for k in WORLD] for c in (one, other)], correction=False)
    assert ours.statistic == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert same_distribution(one, draws(WORLD | {"a": 0.4, "b": 0.4}, 3000, 6)).p_value < 1e-6


def test_too_few_draws_are_refused():
    with pytest.raises(SettingsError, match="too few"):
        goodness_of_fit({"a": 3}, {"a": 0.5, "b": 0.5})
    with pytest.raises(SettingsError, match="both sides"):
        same_distribution({"a": 3}, {})
    with pytest.raises(SettingsError, match="too few"):
        same_distribution({"a": 30}, {"a": 30})
