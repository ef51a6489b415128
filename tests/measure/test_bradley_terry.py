import itertools
import math
import random

import pytest

from tutelage.errors import SettingsError
from tutelage.measure import bradley_terry


def test_two_players_by_hand():
    # 3 of 4 won: the log odds, when the prior is wide
    found = bradley_terry([("a", "b", 1.0)] * 3 + [("b", "a", 1.0)], prior_sd=1e4)
    assert found.names == ("a", "b")
    assert found.strengths[0] - found.strengths[1] == pytest.approx(math.log(3), abs=1e-6)
    assert sum(found.strengths) == pytest.approx(0.0, abs=1e-12)


def test_ties_and_order_of_players_do_not_matter():
    games = [("a", "b", 1.0), ("b", "c", 0.5), ("c", "a", 0.0), ("a", "c", 0.5)]
    turned = [(b, a, 1 - r) for a, b, r in reversed(games)]
    assert bradley_terry(turned).strengths == pytest.approx(bradley_terry(games).strengths)
    even = bradley_terry([("a", "b", 0.5)])
    assert even.strengths == pytest.approx((0.0, 0.0))


def test_known_strengths_come_back():
    truth = {"a": 1.2, "b": 0.4, "c": -0.3, "d": -1.3}
    rng = random.Random(4)
    games = [
        (x, y, float(rng.random() < 1 / (1 + math.exp(truth[y] - truth[x]))))
        for x, y in itertools.combinations(truth, 2)
        for _ in range(400)
    ]
    found = bradley_terry(games)
    for name, strength, error in zip(found.names, found.strengths, found.stderrs):
        assert abs(strength - truth[name]) < 0.3
        assert error > 0


def test_an_undefeated_player_stays_finite_and_narrower_priors_pull_in():
    wide = bradley_terry([("a", "b", 1.0)] * 5, prior_sd=10)
    narrow = bradley_terry([("a", "b", 1.0)] * 5, prior_sd=0.5)
    assert math.isfinite(wide.strengths[0])
    assert 0 < narrow.strengths[0] < wide.strengths[0]
    assert wide.stderrs[0] > narrow.stderrs[0]


def test_edges():
    assert bradley_terry([]).names == ()
    for wrong in [("a", "a", 1.0), ("a", "b", 1.5)]:
        with pytest.raises(SettingsError, match="two players"):
            bradley_terry([wrong])
    with pytest.raises(SettingsError, match="positive width"):
        bradley_terry([("a", "b", 1.0)], prior_sd=0)
