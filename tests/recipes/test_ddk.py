"""DDK on two skills of the bundled world: the record of the mix follows the paper's update, arms differ by the rule alone."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import pytest

import tutelage
from tutelage.journal.folder import ArmJournal
from tutelage.recipes import ddk
from tutelage.select.domain_weights import PerplexityRatio

pytestmark = pytest.mark.xdist_group("recipes")

ARMS = ("cpt", "cpt_doremi", "kd", "ddk", "no_smoothing", "measured_first", "shuffled")


@cache
def events(arm: str) -> list[dict]:
    outcome = tutelage.run(
        "ddk", task="folds/*", teacher="bundled:teacher", student="bundled:student", preset="toy", arms=list(ARMS),
        task_options={"test_size": 3}, settings={"interval": 1, "training.steps": 3},
    )  # fmt: skip
    return ArmJournal(outcome.folder / "seeds" / "0" / arm).events()


def intervals(arm: str) -> list[dict]:
    return [e for e in events(arm) if e["event"] == "fit"][-1]["told"]["domains"]["intervals"]


def note(arm: str, name: str):
    return next(e["value"] for e in events(arm) if e["event"] == "note" and e["name"] == name)


def floor() -> dict[str, float]:
    """The teacher's loss, from the student's loss before training and the ratio that was noted."""
    return {d: loss - math.log(note("ddk", "ratios before")[d]) for d, loss in intervals("kd")[0]["losses"].items()}


def test_domains_are_the_skills_and_the_weights_follow_the_papers_update():
    seen, rule = intervals("ddk"), PerplexityRatio(alpha=0.5, cap=5.0)
    assert list(seen[0]["weights"]) == ["msum", "track", "nav", "shop"]
    assert seen[0]["drawn_by"] == dict.fromkeys(seen[0]["weights"], 0.25)
    assert seen[0]["weights"] == pytest.approx(rule.start(seen[0]["losses"], floor()), rel=1e-3)
    for before, after in pairwise(seen):
        assert after["weights"] == pytest.approx(rule.after(before["weights"], after["losses"], floor()), rel=1e-3)
        assert after["drawn_by"] == after["weights"]
    assert min(seen[-1]["weights"].values()) >= 0.125


def test_every_arm_starts_from_the_same_student_and_the_same_first_draws():
    first = intervals("ddk")[0]
    for arm in ("cpt", "kd", "no_smoothing", "shuffled"):
        assert intervals(arm)[0]["losses"] == first["losses"]
        assert intervals(arm)[0]["drawn_by"] == first["drawn_by"]
    # One step on the same rows under the same objective leaves the same student.
    assert intervals("kd")[1]["losses"] == intervals("ddk")[1]["losses"] == intervals("shuffled")[1]["losses"]
    assert intervals("cpt")[1]["losses"] != intervals("kd")[1]["losses"]


def test_the_control_has_the_lags_of_other_domains():
    right, dealt = intervals("ddk"), intervals("shuffled")
    assert sorted(dealt[0]["weights"].values()) == pytest.approx(sorted(right[0]["weights"].values()))
    assert [d["weights"] for d in dealt] != [r["weights"] for r in right]


def test_equal_arms_stay_equal_and_the_first_interval_may_follow_the_lag():
    for arm in ("cpt", "kd"):
        assert {w for entry in intervals(arm) for w in entry["weights"].values()} == {0.25}
        assert note(arm, "movement") == 0.0
    assert intervals("measured_first")[0]["drawn_by"] == intervals("ddk")[0]["weights"]


def test_doremi_trains_a_reference_and_a_proxy_and_hands_on_the_proxys_mean_weights():
    fits = [e for e in events("cpt_doremi") if e["event"] == "fit"]
    assert len(fits) == 3
    proxy = [entry["weights"] for entry in fits[1]["told"]["domains"]["intervals"]]
    handed = fits[2]["told"]["domains"]["intervals"][0]["drawn_by"]
    assert handed == pytest.approx({d: sum(w[d] for w in proxy) / len(proxy) for d in handed})


def test_the_notes_are_of_the_student_that_is_tested():
    for arm in ARMS:
        after = note(arm, "ratios after")
        assert note(arm, "worst ratio") == max(after.values())
        assert 0 <= note(arm, "worst skill") <= 1
        [*_, last] = [e for e in events(arm) if e["event"] == "fit"]
        assert sum(note(arm, "tokens by domain").values()) == last["tokens"]
    assert note("ddk", "ratios before") == note("shuffled", "ratios before")


def test_perplexities_of_unlike_tokens_are_refused():
    class Told(Exception):
        pass

    class Refusing:
        def refuse(self, message: str, **given: object) -> None:
            raise Told(message, given["got"])

    with pytest.raises(Told, match="different tokens"):
        ddk._same_tokens(Refusing(), {"a": [(-1.0, -2.0)]}, {"a": [(-1.0,)]})  # pyright: ignore[reportArgumentType]
    same = {"a": [(-1.0, -2.0)]}
    assert ddk._same_tokens(Refusing(), same, {"a": [(-0.5, -0.5)]}) is same  # pyright: ignore[reportArgumentType]
