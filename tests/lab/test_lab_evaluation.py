"""What the lab measures: test rows, classifiers, fingerprints; and where generated code runs."""

from dataclasses import replace

import pytest
from counting_lab import FACTS, REF, TASK, TEST, Trainer, lab

from tutelage.capabilities import ModelFacts
from tutelage.errors import CapabilityError, DataError
from tutelage.objectives import cross_entropy
from tutelage.records import Example, Prompt
from tutelage.train import FitSettings, Fixed

# -- evaluation ----------------------------------------------------------------------------------------------------------------


def test_evaluation_reads_the_test_rows_once_per_number_of_shots(tmp_path):
    made, journal, opened = lab(tmp_path, arm="main", seed=3)
    cards = made.evaluate("student", made.student, shots=(0, 2), max_tokens=9)
    assert [(c.shots, c.value, c.n, c.arm, c.seed, c.name) for c in cards] == [
        (0, 1.0, 4, "main", 3, "student"),
        (2, 1.0, 4, "main", 3, "student"),
    ]
    zero, two = opened["student"].asked
    assert len(zero[0]) == len(two[0]) == 4
    assert zero[0][0] == "Q : test 0 ?\nA :"
    assert two[0][0].startswith("Q : seed 0 ?\nA : => 0\n\nQ : seed 1 ?")
    assert zero[1].temperature == 0
    assert zero[1].stop == ("\n",)
    events = [e for e in journal.events() if e["event"] == "scorecard"]
    assert [(e["shots"], e["value"]) for e in events] == [(0, 1.0), (2, 1.0)]
    assert "items" not in events[0]
    assert journal.records("scorecards") == [], "written when the arm is finished"
    assert made.finish() == cards
    assert journal.records("scorecards") == cards
    assert journal.done()


def test_a_limit_takes_the_first_test_rows(tmp_path):
    made, _, opened = lab(tmp_path, test_limit=2)
    [card] = made.evaluate("student", made.student, max_tokens=9)
    assert (card.n, card.items) == (2, tuple(p.id for p in TEST[:2]))
    assert len(opened["student"].asked[0][0]) == 2


def test_a_task_without_test_rows_cannot_be_scored(tmp_path):
    made, journal, opened = lab(tmp_path, task=replace(TASK, test=()))
    with pytest.raises(DataError, match="task 'counting' has no problems to score a model on"):
        made.evaluate("student", made.student, max_tokens=9)
    assert "student" not in opened or opened["student"].asked == []
    assert not [e for e in journal.events() if e["event"] == "scorecard"]


# -- classifiers ---------------------------------------------------------------------------------------------------------------

ENCODER = (replace(REF, digest="b2-e"), ModelFacts(capabilities=frozenset({"embed", "train"})))
LABELLED = [Example(prompt=Prompt.user(f"q{i}"), completion="", label=i % 2) for i in range(4)]


def test_a_class_head_makes_a_classifier_of_an_encoder_and_it_is_scored_by_label(tmp_path):
    made, journal, _ = lab(tmp_path, models={"student": ENCODER}, train=Trainer())
    with pytest.raises(CapabilityError, match="cannot classify"):
        made.student.classify(["x"])
    settings = FitSettings(lr=1e-3, head="class", labels=("0", "1"))
    taught = made.fit("student", made.student, Fixed(LABELLED), cross_entropy(), settings=settings)
    assert taught.facts.capabilities == {"classify", "embed", "train"}
    assert taught.facts.labels == ("0", "1")
    assert taught.classify(["x"]) == [(0.25, 0.75)]
    [card] = made.evaluate("taught", taught, max_tokens=1)
    assert card.n == len(TASK.test)
    assert card.scores == tuple(float(p.answer == "1") for p in TASK.test)
    [event] = [e for e in journal.events() if e["event"] == "scorecard"]
    assert event["fingerprint"] == card.fingerprint
    with pytest.raises(CapabilityError, match="cannot be shown examples"):
        made.evaluate("taught", taught, shots=(1,), max_tokens=1)


def test_classes_without_names_are_numbered_and_one_output_is_no_classifier(tmp_path):
    made, _, _ = lab(tmp_path, models={"student": ENCODER}, train=Trainer())
    three = made.fit("student", made.student, Fixed(LABELLED), cross_entropy(), settings=FitSettings(lr=1e-3, head="class", classes=3))
    assert three.facts.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    one = made.fit("rater", made.student, Fixed(LABELLED), cross_entropy(), settings=FitSettings(lr=1e-3, head="class", classes=1))
    assert one.facts.capabilities == {"embed", "reward", "train"}
    embeds = made.fit("embedder", made.student, Fixed(LABELLED), cross_entropy(), settings=FitSettings(lr=1e-3, head="embed"))
    assert embeds.facts == made.student.facts


# -- what is compared ----------------------------------------------------------------------------------------------------------


def test_another_chat_template_or_another_number_of_shots_is_another_fingerprint(tmp_path):
    def fingerprint(name, shots=(0,), **facts):
        made, _, _ = lab(tmp_path / name, models={"student": (REF, replace(FACTS, **facts))})
        return made.evaluate("student", made.student, shots=shots, max_tokens=4)[0].fingerprint

    plain = fingerprint("plain")
    assert fingerprint("again") == plain
    assert len({plain, fingerprint("t", template="b2-t"), fingerprint("u", template="b2-u"), fingerprint("shot", shots=(1,))}) == 4


# -- where generated code runs ---------------------------------------------------------------------------------------------------


def test_the_weak_sandbox_is_given_to_those_alone_who_allowed_it(tmp_path, monkeypatch):
    from tutelage.errors import SandboxError
    from tutelage.sandbox import unavailable

    monkeypatch.setenv("PATH", str(tmp_path))
    unavailable.cache_clear()
    try:
        made, _, _ = lab(tmp_path / "a")
        with pytest.raises(SandboxError, match="allow-weak-sandbox"):
            made.sandbox()
        allowed, _, _ = lab(tmp_path / "b", allow_weak_sandbox=True)
        assert allowed.sandbox().name == "weak"
    finally:
        unavailable.cache_clear()
