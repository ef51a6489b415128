"""Accuracy, F1, pass@k, calibration, agreement, correlation: hand-worked values, slow twins, edges."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tutelage.errors import SettingsError
from tutelage.measure import accuracy, brier, ece, kappa, kendall, macro_f1, mean_nats, pass_at_k, pearson, share_equal, spearman


def test_accuracy_is_the_mean_and_none_for_nothing():
    assert accuracy([True, False, True, True]) == 0.75
    assert accuracy([0.5]) == 0.5
    assert accuracy([]) is None


def test_macro_f1_by_hand():
    # a: TP 2, FP 1, FN 0 -> 4/5; b: TP 1, FP 0, FN 1 -> 2/3; c is only predicted -> 0
    assert macro_f1(["a", "a", "b", "b", "a"], ["a", "a", "b", "a", "c"]) == pytest.approx((4 / 6 + 2 / 3 + 0) / 3)
    assert macro_f1(["a", "a", "b", "b"], ["a", "a", "b", "a"]) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert macro_f1([], []) is None
    with pytest.raises(SettingsError, match="one prediction per gold"):
        macro_f1(["a"], [])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
@settings(deadline=None)
def test_macro_f1_equals_a_slow_twin(rows):
    gold, predicted = [g for g, _ in rows], [p for _, p in rows]
    scores = []
    for label in set(gold) | set(predicted):
        hits = sum(g == label and p == label for g, p in rows)
        precision = hits / predicted.count(label) if label in predicted else 0.0
        recall = hits / gold.count(label) if label in gold else 0.0
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    assert macro_f1(gold, predicted) == pytest.approx(sum(scores) / len(scores))


def test_pass_at_k_counts_subsets():
    for n, right in itertools.product(range(1, 6), range(6)):
        if right > n:
            continue
        for k in range(1, n + 1):
            draws = list(itertools.combinations([1] * right + [0] * (n - right), k))
            assert pass_at_k(n, right, k) == pytest.approx(sum(any(d) for d in draws) / len(draws))
    for wrong in [(3, 4, 1), (3, 1, 0), (3, 1, 4), (3, -1, 1)]:
        with pytest.raises(SettingsError, match="pass@k"):
            pass_at_k(*wrong)


def test_brier_and_ece_by_hand():
    assert brier([1.0, 0.0, 0.5], [1, 1, 0]) == pytest.approx((0 + 1 + 0.25) / 3)
    # bins of a half: [0.2 wrong, 0.4 right] -> |0.5 - 0.3| ; [0.5 right, 1.0 right] -> |1 - 0.75|
    assert ece([0.2, 0.4, 0.5, 1.0], [0, 1, 1, 1], bins=2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.25)
    assert ece([0.7] * 10, [1] * 7 + [0] * 3) == pytest.approx(0.0, abs=1e-12)
    assert brier([], []) is None
    assert ece([], []) is None
    with pytest.raises(SettingsError, match="in \\[0, 1\\]"):
        brier([1.2], [1])
    with pytest.raises(SettingsError, match="one outcome"):
        ece([0.2], [])
    with pytest.raises(SettingsError, match="one bin"):
        ece([0.2], [1], bins=0)


def test_kappa_by_hand():
    # observed 7/10; chance (6*5 + 4*5) / 100 = 0.5
    first = ["y"] * 6 + ["n"] * 4
    second = ["y", "y", "y", "y", "n", "n", "y", "n", "n", "n"]
    assert share_equal(first, second) == pytest.approx(0.7)
    assert kappa(first, second) == pytest.approx((0.7 - 0.5) / 0.5)
    assert kappa([1, 2, 3], [1, 2, 3]) == 1.0
    assert kappa([1, 1, 2, 2], [1, 2, 1, 2]) == 0.0
    assert kappa([], []) is None
    assert kappa(["a", "a"], ["a", "a"]) is None
    assert share_equal([], []) is None
    with pytest.raises(SettingsError):
        kappa([1], [])


def test_correlations_agree_with_scipy_on_ties():
    rng = random.Random(1)
    for _ in range(20):
        x = [rng.randrange(5) for _ in range(15)]
        y = [a + rng.randrange(4) for a in x]
        assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y)[0])
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y)[0])
        assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y)[0])


def test_rank_correlation_by_hand():
    assert spearman([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert spearman([1, 2, 3], [1, 4, 9]) == pytest.approx(1.0)
    assert kendall([1, 2, 3], [3, 2, 1]) == -1.0


@pytest.mark.parametrize("measure", [pearson, spearman, kendall])
def test_a_correlation_that_does_not_exist_is_none(measure):
    assert measure([], []) is None
    assert measure([1.0], [2.0]) is None
    assert measure([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert measure([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]) is None
    with pytest.raises(SettingsError, match="finite"):
        measure([math.nan, 1.0], [1.0, 2.0])
    with pytest.raises(SettingsError, match="pairs"):
        measure([1.0], [1.0, 2.0])


def test_values_too_close_to_square_have_no_linear_correlation():
    assert pearson([0.0, 1e-200], [0.0, 1.0]) is None


def test_loss_is_the_mean_over_tokens_so_that_long_texts_weigh_more():
    assert mean_nats([(-1.0,), (-4.0, -4.0, -4.0)]) == pytest.approx(13 / 4)
    assert mean_nats([]) == 0.0
    assert mean_nats([(), (-2.0,)]) == 2.0
