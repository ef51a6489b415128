"""RevThink on two skills of the bundled world: arms differ by what is learned of the same tuples, in equally many steps."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

import tutelage
from tutelage.journal.folder import ArmJournal
from tutelage.recipes import revthink

pytestmark = pytest.mark.xdist_group("recipes")

ARMS = (
    "skd", "skd_tokens", "skd_calls", "step_by_step", "answer_augmentation", "question_augmentation", "revthink", "with_answers",
    "one_target", "rows",
)  # fmt: skip


@cache
def journal(arm: str) -> ArmJournal:
    outcome = tutelage.run(
        "revthink", task="folds/*", teacher="bundled:teacher", student="bundled:student", preset="toy", arms=list(ARMS),
        task_options={"test_size": 3}, settings={"examples": 8, "sft.batch": 3},
    )  # fmt: skip
    return ArmJournal(outcome.folder / "seeds" / "0" / arm)


def fit(arm: str) -> dict:
    return [e for e in journal(arm).events() if e["event"] == "fit"][-1]


def learned(arm: str) -> Counter[str]:
    """How often each question stands behind an example."""
    return Counter(e.parents[0] for x in journal(arm).records("examples") if (e := x.origin) is not None)


def mappings(arm: str) -> Counter[str]:
    return Counter(x.context["mapping"] for x in journal(arm).records("examples"))


def test_every_arm_takes_as_many_steps_as_the_questions_make_windows():
    windows = -(-len(journal("skd").records("questions")) // 3)
    assert {arm: fit(arm)["steps"] for arm in ARMS if arm != "skd_tokens"} == {arm: windows for arm in ARMS if arm != "skd_tokens"}
    assert fit("skd_tokens")["steps"] > 2 * windows


def test_plain_distillation_learns_the_forward_rationales_of_the_very_tuples():
    tuples = mappings("revthink")["forward"]
    assert tuples > 4
    assert mappings("revthink") == {"forward": tuples, "question": tuples, "backward": tuples}
    assert mappings("skd") == mappings("skd_tokens") == {"forward": tuples}
    assert learned("skd") == Counter(dict.fromkeys(learned("revthink"), 1))


def test_a_second_rationale_is_another_text_of_the_same_questions():
    once, twice, often = mappings("skd")["forward"], mappings("answer_augmentation")["forward"], mappings("skd_calls")["forward"]
    assert once < twice <= 2 * once
    assert often >= twice
    examples = journal("answer_augmentation").records("examples")
    assert len({(x.prompt.id, x.completion) for x in examples}) == len(examples)
    assert {x.prompt.id for x in examples} == {x.prompt.id for x in journal("skd").records("examples")}
    assert max(Counter(x.prompt.id for x in examples).values()) == 2


def test_a_second_rationale_is_sampled_where_the_first_was_greedy():
    outcome = tutelage.run(
        "revthink", task="folds/*", teacher="bundled:teacher", student="bundled:student", preset="toy",
        arms=["skd", "answer_augmentation"], task_options={"test_size": 3}, settings={"examples": 24, "tries": 1},
    )  # fmt: skip
    n = {arm: len(ArmJournal(outcome.folder / "seeds" / "0" / arm).records("examples")) for arm in ("skd", "answer_augmentation")}
    assert n["answer_augmentation"] > n["skd"]


def test_new_questions_are_others_and_no_more_than_inverse_ones():
    old = {x.text for x in journal("question_augmentation").records("questions")}
    new = {x.text for x in journal("question_augmentation").records("new_questions")}
    assert new - old
    tuples, both = mappings("skd")["forward"], mappings("question_augmentation")["forward"]
    assert tuples < both <= 2 * tuples


def test_views_of_a_tuple_follow_the_arm():
    tuples = mappings("skd")["forward"]
    assert mappings("step_by_step") == {"forward": tuples, "label": tuples}
    assert all(x.completion.startswith("=> ") for x in journal("step_by_step").records("examples") if x.context["mapping"] == "label")
    assert mappings("with_answers")["question"] == tuples < mappings("with_answers")["forward"]
    assert mappings("one_target") == {"forward": tuples}
    assert all(x.completion.count("\n") == 2 for x in journal("one_target").records("examples"))
    assert mappings("rows") == mappings("revthink")


def test_the_adapters_of_the_paper_preset_are_the_scripts():
    lora = revthink.Settings().sft.lora
    assert lora is not None
    assert lora.targets == ("q_proj", "v_proj")
    assert (lora.rank, lora.alpha, lora.dropout) == (32, 32.0, 0.05)
