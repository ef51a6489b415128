"""Split-half reliability against theory, a slow twin and hand-worked cases; the verdict rule at its bounds."""

import itertools
import math
import random
import statistics

import pytest

from tutelage.errors import SettingsError
from tutelage.measure import pearson, preference_reliability, split_half, variance_share
from tutelage.measure.reliability import SplitHalf, _verdict


def noisy(rng, truth, probes, noise):
    return [[t + rng.gauss(0, noise) for _ in range(probes)] for t in truth]


def test_theory_of_parallel_tests():
    # truth variance 1, noise variance 4, 16 probes: reliability at full length 1 / (1 + 4/16) = 0.8, at half length 1 / (1 + 4/8) = 2/3
    rng = random.Random(0)
    parts = noisy(rng, [rng.gauss(0, 1) for _ in range(1500)], 16, 2.0)
    found = split_half(parts, rng=random.Random(1))
    assert found.raw == pytest.approx(2 / 3, abs=0.03)
    assert found.corrected == pytest.approx(0.8, abs=0.03)
    assert (found.items, found.groups, found.probes) == (1500, 1, 16)


def test_every_split_of_four_probes_equals_a_slow_twin():
    rng = random.Random(2)
    parts = noisy(rng, [0, 1, 2, 3, 4, 5], 4, 0.7)
    every = []
    for first in itertools.combinations(range(4), 2):
        second = [k for k in range(4) if k not in first]
        every.append(pearson([statistics.mean(row[k] for k in first) for row in parts],
                             [statistics.mean(row[k] for k in second) for row in parts]))  # fmt: skip
    found = split_half(parts, rng=random.Random(0), splits=4000)
    assert found.raw == pytest.approx(statistics.mean(every), abs=0.005)
    assert found.corrected == pytest.approx(2 * found.raw / (1 + found.raw))


def test_groups_take_out_what_groups_explain():
    # Between groups all is signal, within them all is noise.
    rng = random.Random(3)
    groups = [g for g in range(4) for _ in range(60)]
    parts = noisy(rng, [10.0 * g for g in groups], 8, 1.0)
    assert split_half(parts, rng=random.Random(0)).raw > 0.99
    assert abs(split_half(parts, rng=random.Random(0), groups=groups).raw) < 0.1


def test_odd_numbers_of_probes_use_the_general_correction():
    rng = random.Random(4)
    parts = noisy(rng, [rng.gauss(0, 1) for _ in range(2000)], 3, 1.0)
    found = split_half(parts, rng=random.Random(0))
    # halves of one probe: r = 1/2; at three probes 3 r / (1 + 2 r) = 3/4
    assert found.raw == pytest.approx(0.5, abs=0.04)
    assert found.corrected == pytest.approx(3 * found.raw / (1 + 2 * found.raw))


def test_skills_with_unequal_numbers_of_probes():
    rng = random.Random(5)
    parts = noisy(rng, [0.0, 5.0] * 20, 4, 0.1) + noisy(rng, [0.0, 5.0] * 20, 7, 0.1)
    found = split_half(parts, rng=random.Random(0), groups=["a"] * 40 + ["b"] * 40)
    assert found.raw > 0.99
    assert found.probes == 4


def test_what_cannot_be_said_is_none():
    rng = random.Random(0)
    nothing = [
        split_half([], rng=rng),
        split_half([[1.0, 0.0]], rng=rng),
        split_half([[1.0], [0.0]], rng=rng),  # one probe cannot be halved
        split_half([[1.0, 1.0]] * 5, rng=rng),  # all alike
        split_half([[0.1, 0.1, 0.1], [0.1, 0.1, 0.1]], rng=rng, groups=["x", "x"]),
        split_half([[1.0, 0.0], [0.0, 1.0]], rng=rng, groups=["x", "y"]),  # groups of one
    ]
    assert all(found.raw is None and found.corrected is None for found in nothing)
    with pytest.raises(SettingsError, match="one group per item"):
        split_half([[1.0, 0.0]], rng=rng, groups=[])
    with pytest.raises(SettingsError, match="one split"):
        split_half([[1.0, 0.0]], rng=rng, splits=0)


def test_a_negative_correlation_is_not_corrected():
    found = split_half([[1.0, 0.0], [0.0, 1.0]], rng=random.Random(0))
    assert found.raw == found.corrected == pytest.approx(-1.0)


def test_the_same_stream_gives_the_same_answer():
    parts = noisy(random.Random(6), [0, 1, 2, 3] * 5, 6, 1.0)
    assert split_half(parts, rng=random.Random(9)) == split_half(parts, rng=random.Random(9))


def test_variance_share_by_hand():
    # mean 3; total 9+1+1+9 = 20; groups means 1 and 5, between 2*4 + 2*4 = 16
    found = variance_share([0.0, 2.0, 4.0, 6.0], ["a", "a", "b", "b"])
    assert found.share == pytest.approx(16 / 20)
    assert found.adjusted == pytest.approx(1 - 0.2 * 3 / 2)
    assert (found.groups, found.items) == (2, 4)


def test_a_random_grouping_explains_nothing_after_adjustment():
    rng = random.Random(8)
    adjusted, plain = [], []
    for _ in range(200):
        found = variance_share([rng.gauss(0, 1) for _ in range(24)], [i % 8 for i in range(24)])
        adjusted.append(found.adjusted)
        plain.append(found.share)
    assert abs(statistics.mean(adjusted)) < 0.05
    assert statistics.mean(plain) == pytest.approx(7 / 23, abs=0.04)


def test_variance_share_edges():
    assert variance_share([], []).share is None
    assert variance_share([1.0], ["a"]).share is None
    assert variance_share([1.0, 1.0], ["a", "b"]).share is None
    alone = variance_share([1.0, 2.0], ["a", "b"])
    assert (alone.share, alone.adjusted) == (1.0, None)
    with pytest.raises(SettingsError):
        variance_share([1.0], [])


def world(rng, *, style_worth, item_worth, noise, probes=8):
    """Items of two skills in three styles, scored 0/1 per probe with a chance that style and item move."""
    parts, skills, styles = [], [], []
    for skill in ("msum", "shop"):
        for index in range(60):
            style = ("steps", "terse", "posthoc")[index % 3]
            chance = 0.5 + style_worth * (style == "steps") - style_worth / 2 + rng.gauss(0, item_worth)
            parts.append([min(1.0, max(0.0, chance + rng.gauss(0, noise))) for _ in range(probes)])
            skills.append(skill)
            styles.append(style)
    return parts, skills, styles


def test_scores_that_only_see_style():
    parts, skills, styles = world(random.Random(1), style_worth=0.6, item_worth=0.0, noise=0.05)
    found = preference_reliability(parts, skills=skills, styles=styles, rng=random.Random(0))
    assert found.verdict == "reliable"
    assert found.within_skill.raw > 0.95
    assert abs(found.within_skill_and_style.raw) < 0.2
    assert found.by_style.share > 0.95
    assert found.by_skill.share < 0.1
    assert found.by_skill_and_style.share >= found.by_style.share


def test_scores_that_are_noise():
    parts, skills, styles = world(random.Random(1), style_worth=0.0, item_worth=0.0, noise=0.2)
    found = preference_reliability(parts, skills=skills, styles=styles, rng=random.Random(0))
    assert found.verdict == "noise"
    assert "by chance" in found.reason


def test_scores_all_alike_and_scores_too_few():
    alike = preference_reliability([[1.0, 1.0]] * 10, skills=["a"] * 10, styles=["s"] * 10, rng=random.Random(0))
    assert alike.verdict == "noise"
    assert alike.by_style.share is None
    few = preference_reliability([[1.0, 0.0]] * 3, skills=["a"] * 3, styles=["s"] * 3, rng=random.Random(0))
    assert few.verdict == "unknown"
    none = preference_reliability([], skills=[], styles=[], rng=random.Random(0))
    assert none.verdict == "unknown"
    unscored = preference_reliability([[], [1.0, 0.0]], skills=["a", "a"], styles=["s", "s"], rng=random.Random(0))
    assert unscored.by_skill.items == 1


@pytest.mark.parametrize(
    ("corrected", "verdict"), [(0.7499, "noise"), (0.75, "unsure"), (0.8999, "unsure"), (0.9, "reliable"), (-0.2, "noise")]
)
def test_the_verdict_rule_at_its_bounds(corrected, verdict):
    within = SplitHalf(raw=0.5, corrected=corrected, items=20, groups=2, probes=8)
    assert _verdict(within, 0.75, 0.9)[0] == verdict


def test_bounds_out_of_order_are_refused():
    with pytest.raises(SettingsError, match="bounds"):
        preference_reliability([], skills=[], styles=[], rng=random.Random(0), noise_below=0.9, reliable_from=0.5)
    assert math.isclose(2 * 0.59 / 1.59, 0.742, abs_tol=1e-3)  # the measured failure the lower bound was set by
