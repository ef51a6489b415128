"""What the arms of KDRL, semantic revision, ThinkTuning and SaySelf charge, held against the papers' lines."""

from dataclasses import replace

import pytest

from tutelage.recipes import kdrl, sayself, semantic_revision, thinktuning
from tutelage.recipes.kdrl import Settings, _objective


def kdrl_arm(name):
    return replace(Settings(), **kdrl.ARMS[name].changes)


def weights(settings, step):
    return {t.name: t.weight_at(step / settings.steps) for t in _objective(settings).terms}


def test_annealing_falls_by_the_papers_step_to_its_floor():
    s = kdrl_arm("annealed")
    for step in range(s.steps):
        assert weights(s, step)["sampled_kl_k2"] == pytest.approx(max(5e-3 - 5e-5 * step, 1e-3))
        assert weights(s, step)["grpo"] == 1.0


def test_the_hard_switch_never_charges_both():
    s = kdrl_arm("hard_switch")
    both = [weights(s, step) for step in range(s.steps)]
    assert all(w["grpo"] * w["sampled_kl_k2"] == 0 for w in both)
    assert sum(w["grpo"] for w in both) == s.steps / 2
    assert both[0]["sampled_kl_k2"] == s.beta == 2e-3


@pytest.mark.parametrize(
    ("arm", "terms", "marked"),
    [
        ("kdrl", ["grpo", "sampled_kl_k2"], ["", ""]),
        ("grpo", ["grpo"], [""]),
        ("kd_rkl", ["sampled_kl_k2"], [""]),
        ("k3", ["grpo", "sampled_kl_k3"], ["", ""]),
        ("top_k", ["grpo", "sparse_reverse_kl"], ["", ""]),
        ("exact", ["grpo", "reverse_kl"], ["", ""]),
        ("shaping", ["grpo"], [""]),
        ("masked", ["grpo", "sampled_kl_k2"], ["", "imitated"]),
        ("masked_groups", ["grpo", "sampled_kl_k2"], ["", "imitated"]),
        ("own_teacher", ["grpo", "sampled_kl_k2"], ["", ""]),
    ],
)
def test_arms_of_kdrl_charge_what_they_say(arm, terms, marked):
    objective = _objective(kdrl_arm(arm))
    assert [t.name for t in objective.terms] == terms
    assert [t.where for t in objective.terms] == marked
    assert all(t.unit == "token" and not t.over for t in objective.terms)
    assert all(t.weight == 2e-3 for t in objective.terms if t.name != "grpo")


@pytest.mark.parametrize(
    ("arm", "terms"),
    [
        ("semantic_revision", ["cross_entropy", "dac_kl", "span_correlation"]),
        ("on_policy", ["cross_entropy", "forward_kl"]),
        ("mended", ["cross_entropy", "forward_kl"]),
        ("random_place", ["cross_entropy", "forward_kl"]),
        ("dense", ["cross_entropy", "dac_kl"]),
        ("constant", ["cross_entropy", "clipped_kl"]),
        ("spans", ["cross_entropy", "forward_kl", "span_correlation"]),
        ("references", ["cross_entropy"]),
    ],
)
def test_arms_of_semantic_revision_charge_references_and_own_texts_apart(arm, terms):
    settings = replace(semantic_revision.Settings(), **semantic_revision.ARMS[arm].changes)
    objective = semantic_revision._objective(settings)
    assert [t.name for t in objective.terms] == terms
    assert [t.over for t in objective.terms] == ["given", *["own"] * (len(terms) - 1)]
    assert all(t.weight == 1.0 for t in objective.terms), "the paper adds its losses with unit weights"
    assert [t.where for t in objective.terms if t.name == "span_correlation"] in ([], ["in_span"])


@pytest.mark.parametrize(
    ("arm", "term", "options"),
    [
        ("grpo", "grpo", {"clip_low": 0.2, "clip_high": 0.2}),
        ("thinktuning", "guided_grpo", {"best": 0.001, "worst": -0.001, "reach": 4.0, "spare": 0.01}),
        ("constant", "guided_grpo", {"best": 0.1, "worst": 0.1}),
        ("degenerate", "guided_grpo", {"best": -0.001, "worst": -0.001}),
        ("no_exception", "guided_grpo", {"best": 0.001, "worst": -0.001, "spare": 0.0}),
    ],
)
def test_arms_of_thinktuning_shape_the_ratio_as_they_say(arm, term, options):
    (found,) = thinktuning._objective(replace(thinktuning.Settings(), **thinktuning.ARMS[arm].changes)).terms
    assert (found.name, found.unit, found.where, found.over) == (term, "token", "", "")
    assert options.items() <= dict(found.options).items()


@pytest.mark.parametrize(
    ("arm", "terms", "marked"),
    [("sayself", ["grpo"], ["stated"]), ("linear", ["grpo"], ["stated"]), ("unmasked", ["grpo"], [""])],
)
def test_sayself_charges_the_stated_number_alone(arm, terms, marked):
    settings = replace(sayself.Settings(), **sayself.ARMS[arm].changes)
    objective = sayself._objective(settings)
    assert ([t.name for t in objective.terms], [t.where for t in objective.terms]) == (terms, marked)
    held = sayself._objective(replace(settings, kl=0.1))
    assert [t.where for t in held.terms] == marked * 2, "the divergence is restricted likewise"
