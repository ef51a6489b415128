"""Domain weights: the paper's update worked by hand, floors, caps, overflow, and what a history comes to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import SettingsError
from tutelage.select.domain_weights import (
    Constant,
    ExcessLoss,
    PerplexityRatio,
    mean_weights,
    movement,
    perplexity_ratios,
    shares_of,
)

TEN = [f"d{i}" for i in range(10)]
NATS = st.dictionaries(st.sampled_from(TEN), st.floats(0, 20), min_size=1)


def nats(ratios: dict[str, float]) -> dict[str, float]:
    return {name: math.log(r) for name, r in ratios.items()}


def test_a_lagging_domain_of_ten_rises_as_worked_by_hand():
    """N = 10, alpha = 0.5, equal start, nine domains at ratio 1.2 and one at 1.9, held fixed."""
    losses = nats(dict.fromkeys(TEN, 1.2) | {"d7": 1.9})
    rule, weights, seen = PerplexityRatio(alpha=0.5), dict.fromkeys(TEN, 0.1), []
    for _ in range(6):
        weights = rule.after(weights, losses, {})
        seen.append(round(weights["d7"], 3))
    assert seen == [0.141, 0.175, 0.199, 0.217, 0.229, 0.237]
    assert math.fsum(weights.values()) == pytest.approx(1)


def test_the_start_is_the_softmax_of_the_ratios_not_of_their_logarithms():
    start = PerplexityRatio().start(nats({"a": 3.0, "b": 1.5}), nats({"a": 1.5, "b": 1.5}))
    assert start["a"] == pytest.approx(math.exp(2) / (math.exp(2) + math.exp(1)))
    assert start["b"] == pytest.approx(1 - start["a"])


def test_a_noisy_domain_in_which_the_teacher_is_as_lost_is_not_chased():
    rule = PerplexityRatio()
    weights = rule.after({"hard": 0.5, "easy": 0.5}, {"hard": 5.0, "easy": 1.0}, {"hard": 4.9, "easy": 0.9})
    assert weights["hard"] == pytest.approx(0.5)


def test_every_domain_keeps_its_floor_and_without_smoothing_the_lag_compounds():
    losses = {"a": 0.0, "b": 0.0, "c": math.log(4.0)}
    floored, bare = dict.fromkeys("abc", 1 / 3), dict.fromkeys("abc", 1 / 3)
    for _ in range(8):
        floored = PerplexityRatio(alpha=0.5).after(floored, losses, {})
        bare = PerplexityRatio(alpha=1.0).after(bare, losses, {})
    assert min(floored.values()) >= 0.5 / 3
    assert bare["c"] > 0.999


def test_a_student_that_knows_nothing_overflows_nothing_and_a_cap_bounds_it():
    wild = {"a": 2000.0, "b": 1.0}
    weights = PerplexityRatio(alpha=0.5).after({"a": 0.5, "b": 0.5}, wild, {})
    assert weights == pytest.approx({"a": 0.75, "b": 0.25})
    capped = PerplexityRatio(alpha=1.0, cap=5.0).start(wild, {})
    assert capped["a"] == pytest.approx(math.exp(5) / (math.exp(5) + math.exp(math.e)))
    assert perplexity_ratios(wild, {})["a"] == math.exp(700)


def test_excess_loss_counts_what_is_above_the_floor_and_nothing_below_it():
    rule = ExcessLoss(rate=2.0, smoothing=0.0)
    weights = rule.after({"a": 0.5, "b": 0.5}, {"a": 1.5, "b": 0.3}, {"a": 1.0, "b": 0.9})
    assert weights["a"] == pytest.approx(math.e / (math.e + 1))
    assert ExcessLoss(rate=2.0, smoothing=1.0).after(weights, {"a": 9.0, "b": 0.0}, {}) == pytest.approx({"a": 0.5, "b": 0.5})


@given(losses=NATS, alpha=st.floats(0, 1), data=st.data())
def test_weights_are_shares_and_follow_the_names_not_their_order(losses: dict[str, float], alpha: float, data: st.DataObject):
    turned = dict(data.draw(st.permutations(list(losses.items()))))
    for rule in (PerplexityRatio(alpha=alpha), ExcessLoss(smoothing=alpha), Constant()):
        weights, others = rule.start(losses, {}), rule.start(turned, {})
        for _ in range(3):
            weights, others = rule.after(weights, losses, {}), rule.after(others, turned, {})
        assert math.fsum(weights.values()) == pytest.approx(1)
        assert min(weights.values()) >= 0
        assert weights == pytest.approx({name: others[name] for name in weights})


def test_constant_shares_are_the_given_ones():
    rule = Constant(shares={"a": 3.0, "b": 1.0})
    assert rule.start({"a": 9.0, "b": 0.0}, {}) == {"a": 0.75, "b": 0.25}
    assert rule.after({"a": 0.75, "b": 0.25}, {"a": 9.0, "b": 0.0}, {}) == {"a": 0.75, "b": 0.25}
    with pytest.raises(SettingsError, match="name each domain"):
        shares_of({"a": 1.0}, {"a": 0, "b": 0})
    with pytest.raises(SettingsError, match="alpha"):
        PerplexityRatio(alpha=1.5)
    with pytest.raises(SettingsError, match="cap"):
        PerplexityRatio(cap=1.0)


def test_a_history_has_a_mean_and_a_movement():
    history = [{"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}, {"a": 0.7, "b": 0.3}]
    assert mean_weights(history) == pytest.approx({"a": 0.7, "b": 0.3})
    assert movement(history) == pytest.approx((0.4 + 0.2) / 2)
    assert (movement(history[:1]), movement([]), mean_weights([])) == (0.0, 0.0, {})


def test_rules_that_differ_describe_themselves_differently():
    rules = [Constant(), Constant(shares={"a": 1.0}), ExcessLoss(), ExcessLoss(rate=2.0), PerplexityRatio(), PerplexityRatio(cap=5.0)]
    assert len({str(rule.describe()) for rule in rules}) == len(rules)
