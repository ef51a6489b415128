"""Balancing, DataEnvGym and LLM2LLM: rows, steps and calls of the arms that others are held against."""

import math
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tutelage
from tutelage.journal.folder import ArmJournal
from tutelage.recipes import balancing, dataenvgym, llm2llm
from tutelage.records import Problem
from tutelage.train import FitSettings, Lora

pytestmark = pytest.mark.xdist_group("recipes")

ONCE = {"sft.epochs": 1, "sft.batch": 8, "shots": (0,)}


@cache
def played(recipe, arms, task="folds/msum", teacher="bundled:teacher", **settings):
    """Journals by arm of one seed."""
    options = {"test_size": 4, "validation_size": 8}
    outcome = tutelage.run(
        recipe, arms=list(arms), task=task, teacher=teacher, student="bundled:student", preset="toy",
        settings={name.replace("__", "."): value for name, value in settings.items()} | ONCE, task_options=options,
    )  # fmt: skip
    return {arm: ArmJournal(outcome.folder / "seeds" / "0" / arm) for arm in arms}, outcome


def notes(journal):
    return {e["name"]: e["value"] for e in journal.events() if e["event"] == "note"}


# -- balancing -----------------------------------------------------------------------------------------------------------------

ARMS = ("answers", "answers_twice", "few_answered", "new_questions", "few_new", "rephrased")


def balanced():
    return played("balancing", ARMS, teacher="scripted:folds", seeds=4, rows=16, same_answer=True)


@pytest.mark.parametrize(("arm", "rows"), [(arm, 32 if arm == "answers_twice" else 16) for arm in ARMS])
def test_every_strategy_has_as_many_rows_as_answers_were_wanted(arm, rows):
    journals, _ = balanced()
    answers = list(journals[arm].records("answers"))
    assert len(answers) == notes(journals[arm])["distinct"]["wanted"] == rows


def test_all_arms_of_balancing_are_trained_for_as_many_steps():
    journals, _ = balanced()
    steps = {arm: [e["steps"] for e in journals[arm].events() if e["event"] == "fit"] for arm in ARMS}
    assert len({tuple(found) for found in steps.values()}) == 1, steps


def test_the_arm_of_twice_as_many_answers_costs_what_new_questions_cost():
    journals, _ = balanced()
    yields = {arm: {e["step"]: e["asked"] for e in journals[arm].events() if e["event"] == "yield"} for arm in ARMS}
    twice, new = (yields[arm]["answers"] + yields[arm].get("new", 0) for arm in ("answers_twice", "new_questions"))
    assert twice == 32
    assert 1.0 <= new / twice < 1.2, "a question and an answer per row, and what was turned down"


@pytest.mark.parametrize(("arm", "questions"), [("answers", 4), ("few_answered", 2), ("few_new", 2), ("new_questions", 16)])
def test_the_controls_have_few_questions_and_as_many_answers(arm, questions):
    journals, _ = balanced()
    asked = Counter(x.problem.text for x in journals[arm].records("answers"))
    assert questions * 0.6 < len(asked) <= questions
    seeds = {p.text for p in journals[arm].records("seeds")}
    assert (set(asked) <= seeds) == (arm in ("answers", "few_answered"))


def test_a_rephrased_question_keeps_its_answer_after_turned_down_answers_are_replaced():
    journals, _ = balanced()
    drawn = {e["step"]: e for e in journals["rephrased"].events() if e["event"] == "yield"}["answers"]
    assert drawn["dropped"].get("another answer than before rephrasing", 0) == drawn["asked"] - 16
    task_right = {p.text: p.answer for p in journals["rephrased"].records("questions")}
    assert all(x.answer == task_right[x.problem.text] for x in journals["rephrased"].records("answers"))


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(0, 9))
def test_missing_turns_go_to_the_questions_with_the_fewest(names, missing):
    stood = [Problem(text=name, skill="s") for name in names]
    chosen = balancing.turns_for(stood, {"s": missing, "none left": 5})
    assert len(chosen) == (missing if names else 0)
    had = Counter(names) + Counter(p.text for p in chosen)
    for name in {p.text for p in chosen}:
        assert had[name] - 1 <= min(had.values())


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 9), st.integers(1, 32))
def test_steps_are_those_of_the_rows_that_were_wanted(rows, wanted, epochs, batch):
    sft = balancing.as_many_steps(FitSettings(lr=1.0, epochs=epochs, batch=batch), rows=rows, steps_of=wanted)
    planned = sft.epochs * math.ceil(rows / batch)
    assert min(planned, sft.steps or planned) == epochs * math.ceil(wanted / batch)
    assert balancing.as_many_steps(sft, rows=0, steps_of=wanted) == sft


def test_wrong_new_questions_cannot_be_dropped_where_nobody_knows_the_answers(tmp_path):
    rows = [f'{{"question": "How many are {i} and {i}?", "answer": "{2 * i}"}}' for i in range(10, 60)]
    (tmp_path / "sums.jsonl").write_text("\n".join(rows))
    outcome = tutelage.run(
        "balancing", arms=["verified"], task=f"file:{tmp_path / 'sums.jsonl'}", teacher="bundled:teacher", student="bundled:student",
        preset="toy", settings=ONCE,
    )  # fmt: skip
    assert "nothing here knows the answers" in str(outcome.refused)


# -- dataenvgym ----------------------------------------------------------------------------------------------------------------


def gym():
    return played("dataenvgym", ("seed_only", "same_rows", "real_rows", "balanced_fill", "llm2llm"), start_from_seed=False)[0]


def test_the_seed_alone_is_what_rounds_start_from_and_costs_nothing():
    journal = gym()["seed_only"]
    found = notes(journal)
    assert found["chosen_round"] == 0
    assert {r["rows"] for r in found["rounds"]} == {4}
    assert len(set(found["held_back"])) == 1
    assert found["held_back_area"] == found["held_back"][0]
    assert list(journal.records("rows")) == []
    assert not [e for e in journal.events() if e["event"] == "yield" and e["step"].startswith("practice")]


def test_the_same_rows_come_again():
    journal = gym()["same_rows"]
    seed = {x.id for x in journal.records("seed")}
    assert {x.id for x in journal.records("rows")} <= seed
    assert notes(journal)["rounds"][-1]["rows"] == 4 + 8


def test_real_rows_are_the_task_s_and_none_of_the_seed_s():
    journal = gym()["real_rows"]
    rows = list(journal.records("rows"))
    assert len(rows) == 8
    assert not {x.problem.text for x in rows} & {x.problem.text for x in journal.records("seed")}
    assert all(x.origin.step == "real_rows" and x.problem.origin.step == "task folds seed" for x in rows)
    assert all("=>" in x.text for x in rows)


def test_llm2llm_as_a_policy_trains_on_its_seed_whatever_the_preset_says():
    assert notes(gym()["llm2llm"])["rounds"][0]["rows"] == 4
    assert dataenvgym.ARMS["llm2llm"].changes["start_from_seed"]


def test_the_paper_s_presets_fine_tune_as_the_papers_do():
    sft = dataenvgym.Settings().sft
    assert sft.lora == Lora(rank=16, alpha=32.0, dropout=0.05)
    assert not sft.lora.targets, "all linear layers"
    assert llm2llm.Settings().sft.precision == "bf16"
    assert replace(sft, lora=None).lr == 1e-4


# -- llm2llm -------------------------------------------------------------------------------------------------------------------


def test_rewritten_rows_reach_their_seeds_answer_and_are_solved_in_their_own_words():
    journals, _ = played("llm2llm", ("rewrites",), teacher="scripted:folds", seeds=4, per_round=8)
    seed = {x.problem.id: x for x in journals["rewrites"].records("seed")}
    rows = list(journals["rewrites"].records("lookalikes"))
    assert rows
    for row in rows:
        (parent,) = row.problem.origin.parents
        assert row.problem.text != seed[parent].problem.text
        assert row.answer == row.problem.answer == seed[parent].problem.answer
        assert row.text != seed[parent].text, "the days of the question stand in its steps"
    drawn = {e["step"]: e for e in journals["rewrites"].events() if e["event"] == "yield"}["rewrites 0 solved"]
    assert drawn["kept"] == len(rows)
    assert drawn["asked"] - drawn["kept"] == sum(drawn["dropped"].values())
