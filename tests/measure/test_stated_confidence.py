"""Confidence and outcome: how well the one tells the other apart, and which reward makes the one honest."""

import random

import pytest

from tutelage.errors import SettingsError
from tutelage.measure.calibration import auroc, linear_score, quadratic_score, unpunished_score
from tutelage.select.clusters import greedy_clusters, tenths


def test_auroc_is_the_share_of_pairs_in_order():
    assert auroc([0.9, 0.8, 0.1], [1, 1, 0]) == 1.0
    assert auroc([0.1, 0.9], [1, 0]) == 0.0
    assert auroc([0.4, 0.4, 0.4], [1, 0, 1]) == 0.5
    assert auroc([0.4], [1]) is None
    assert auroc([], []) is None
    rng = random.Random(0)
    sure, right = [rng.randrange(11) / 10 for _ in range(60)], [float(rng.random() < 0.4) for _ in range(60)]
    ranks = sorted(sure)
    mean_rank = {x: sum(i + 1 for i, y in enumerate(ranks) if y == x) / ranks.count(x) for x in sure}
    n = sum(right)
    mann_whitney = sum(mean_rank[x] for x, r in zip(sure, right, strict=True) if r) - n * (n + 1) / 2
    assert auroc(sure, right) == pytest.approx(mann_whitney / (n * (60 - n)))
    with pytest.raises(SettingsError, match="in \\[0, 1\\]"):
        auroc([7.0], [1])


@pytest.mark.parametrize("chance", [0.0, 0.12, 0.3, 0.5, 0.76, 1.0])
def test_only_the_quadratic_reward_is_greatest_at_the_truth(chance):
    def best(rule):
        means = {n: chance * rule(n / 10, 1.0) + (1 - chance) * rule(n / 10, 0.0) for n in range(11)}
        return [n for n, mean in means.items() if mean == pytest.approx(max(means.values()))]

    assert best(quadratic_score) == [round(10 * chance)]
    assert best(linear_score) == ([0] if chance < 0.5 else list(range(11)) if chance == 0.5 else [10])
    if chance:
        assert best(unpunished_score) == [10]
    assert [quadratic_score(p, c) for p, c in ((1.0, 1.0), (0.0, 1.0), (0.5, 0.0))] == [1.0, -1.0, 0.5]


def test_clusters_are_greedy_in_order():
    assert greedy_clusters([(1, 0), (0.8, 0.6), (2, 0.1), (0, 1), (0, 0), (0.6, 0.8)], alike=0.79) == [[0, 1, 2], [3, 5], [4]]
    assert greedy_clusters([(1, 0), (0.8, 0.6), (0.6, 0.8)], alike=0.9) == [[0], [1, 2]], "what the first took is gone"
    assert greedy_clusters([], alike=0.9) == []
    with pytest.raises(SettingsError, match="cosine"):
        greedy_clusters([(1.0,)], alike=9.0)


def test_shares_in_tenths():
    assert [tenths(k, 30) for k in (0, 1, 2, 15, 28, 29, 30)] == [0, 0, 1, 5, 9, 10, 10]
    assert [tenths(k, 4) for k in range(5)] == [0, 3, 5, 8, 10], "halves upwards"
    with pytest.raises(SettingsError, match="part of the whole"):
        tenths(3, 2)
