"""Verdicts by rule: each kind from values that were made for it."""

import pytest

from tutelage.card import Contrast, Experiment
from tutelage.experiments.verdicts import (
    CONFIRMED,
    DESTROYED,
    NOT_ASKED,
    REFUTED,
    REPORTED,
    SURVIVES,
    UNDECIDED,
    UNSEEN,
    judge,
    measured,
    rejudge,
)

SEEDS = (0, 1, 2, 3, 4)
BASE = [0.30, 0.34, 0.31, 0.33, 0.32]


def values(**arms):
    return {"accuracy, 0-shot": {name: dict(zip(SEEDS, given, strict=False)) for name, given in arms.items()}}


def shifted(by, noise=(0.01, -0.01, 0.0, 0.005, -0.005)):
    return [b + by + n for b, n in zip(BASE, noise, strict=True)]


def one(contrast, given, seeds=SEEDS):
    [found] = judge(Experiment(task="t", contrasts=(contrast,)), given, seeds=seeds)
    return found


def contrast(**more):
    return Contrast(**({"claim": "a beats b", "better": "a", "worse": "b"} | more))


@pytest.mark.parametrize(("by", "verdict"), [(0.2, CONFIRMED), (-0.2, REFUTED), (0.001, UNSEEN)])
def test_the_interval_decides(by, verdict):
    found = one(contrast(), values(a=shifted(by), b=BASE))
    assert found.verdict == verdict
    assert found.difference.value == pytest.approx(by)


def test_a_margin_is_what_the_interval_must_clear():
    given = values(a=shifted(0.05), b=BASE)
    assert one(contrast(margin=0.02), given).verdict == CONFIRMED
    assert one(contrast(margin=0.05), given).verdict == UNSEEN
    assert one(contrast(margin=0.09), given).verdict == REFUTED
    assert one(contrast(margin=-0.05), values(a=shifted(0.0), b=BASE)).verdict == CONFIRMED, "not worse by more than 5 points"


def test_where_less_is_better_the_difference_is_turned_round():
    found = one(contrast(lower=True), values(a=shifted(-0.2), b=BASE))
    assert found.verdict == CONFIRMED
    assert found.difference.value == pytest.approx(0.2)


def test_a_control_destroys_the_effect_or_survives_it():
    def said(by, control, noise=(0.01, -0.01, 0.0, 0.005, -0.005)):
        return one(contrast(control="c"), values(a=shifted(by), b=BASE, c=shifted(control, noise))).control_verdict

    assert said(0.2, 0.0) == DESTROYED
    assert said(0.2, -0.3) == DESTROYED
    assert said(0.2, 0.04) == DESTROYED, "a fifth of the effect is left"
    assert said(0.2, 0.19) == SURVIVES
    assert said(0.2, 0.1, noise=(0.3, -0.3, 0.2, -0.2, 0.0)) == DESTROYED, "nothing that can be told from 0"
    assert said(0.0, 0.2) == NOT_ASKED


def test_the_control_of_a_claim_of_being_no_worse_has_to_fail_it():
    def said(control):
        given = values(a=shifted(0.0), b=BASE, c=shifted(control))
        return one(contrast(control="c", margin=-0.05), given).control_verdict

    assert said(-0.2) == DESTROYED
    assert said(0.0) == SURVIVES, "as good as what it stands beside, so the check could not have failed"
    assert said(-0.01) == SURVIVES


def test_several_contrasts_are_corrected_together():
    # On its own p is about 0.03: enough alone, too little among three.
    weak = shifted(0.02, noise=(0.0, 0.03, -0.01, 0.01, -0.005))
    alone = one(contrast(), values(a=weak, b=BASE))
    assert alone.verdict == CONFIRMED
    several = (contrast(), contrast(better="n1"), contrast(better="n2"), contrast(better="n3", rule=False))
    nothing = shifted(0.0)
    found = judge(Experiment(task="t", contrasts=several), values(a=weak, b=BASE, n1=nothing, n2=nothing, n3=shifted(0.3)), seeds=SEEDS)
    assert [f.verdict for f in found] == [UNSEEN, UNSEEN, UNSEEN, REPORTED]
    assert found[0].p_holm == pytest.approx(3 * alone.p_holm)
    assert found[3].p_holm is None
    assert found[3].difference.low > 0


@pytest.mark.parametrize(
    "given", [values(a=shifted(0.2)[:4], b=BASE), values(b=BASE), {}, {"accuracy, 1-shot": {"a": {0: 1.0}, "b": {0: 0.0}}}]
)
def test_what_is_missing_leaves_it_undecided_and_is_named(given):
    found = one(contrast(), given)
    assert found.verdict == UNDECIDED
    assert any("a: no accuracy, 0-shot under seed 4" in line for line in found.missing)


def test_one_seed_decides_nothing():
    assert one(contrast(), values(a=shifted(0.5), b=BASE), seeds=(0,)).verdict == UNDECIDED


def test_a_record_is_judged_again_to_the_same():
    found = judge(
        Experiment(task="t", contrasts=(contrast(control="c"), contrast(better="c", margin=-0.1))),
        values(a=shifted(0.2), b=BASE, c=shifted(0.0)),
        seeds=SEEDS,
    )
    record = {"contrasts": [j.as_json() for j in found], "seeds": list(SEEDS)}
    assert rejudge(record) == found


def test_a_metric_without_a_model_is_that_of_the_only_model_measured():
    reward, student = {"value": 0.6}, {"value": 0.3}
    assert measured({"reward model: accuracy, 0-shot": reward}, "accuracy, 0-shot") is reward
    assert measured({"accuracy, 0-shot": student, "reward model: accuracy, 0-shot": reward}, "accuracy, 0-shot") is student
    assert measured({"accuracy, 0-shot": student, "reward model: accuracy, 0-shot": reward}, "reward model: accuracy, 0-shot") is reward
    assert measured({"reward model: accuracy, 0-shot": reward, "teacher: accuracy, 0-shot": student}, "accuracy, 0-shot") is None
    assert measured({"reward model: accuracy, 0-shot": reward}, "accuracy, 1-shot") is None
    assert measured({}, "accuracy, 0-shot") is None
