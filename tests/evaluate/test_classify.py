from dataclasses import replace
from functools import partial

import pytest

from tutelage.errors import DataError
from tutelage.evaluate import evaluate_classifier
from tutelage.records import Problem
from tutelage.tasks.task import Task
from tutelage.verify.choice import choice

LABELS = ("book", "cancel", "pay")
TEST = tuple(Problem(text=t, answer=a, skill=s) for t, a, s in (("table", "book", "x"), ("bill", "pay", "x"), ("stop", "cancel", "y")))
TASK = Task(
    name="requests", version="1", licence="MIT", chance=1 / 3, description="Name the intent.", seed=(), validation=(), test=TEST,
    verify=partial(choice, choices=LABELS), labels=LABELS,
)  # fmt: skip


class Model:
    def __init__(self, **shares):
        self.shares = shares

    def classify(self, texts):
        return [self.shares[text] for text in texts]


GOOD = Model(table=(0.8, 0.1, 0.1), bill=(0.4, 0.2, 0.4), stop=(0.1, 0.8, 0.1))


def scored(model, *, task=TASK, labels=LABELS, problems=TEST, **options):
    return evaluate_classifier(model, name="student", task=task, problems=problems, labels=labels, model_id="b2-m", **options)


def test_the_likeliest_label_is_judged_by_the_task_and_of_equals_the_first_counts():
    card = scored(GOOD, seed=3, arm="taught")
    assert card.scores == (1.0, 0.0, 1.0)
    assert (card.value, card.parsed, card.n, card.shots) == (pytest.approx(2 / 3), 1.0, 3, 0)
    assert card.by_skill == {"x": 0.5, "y": 1.0}
    assert (card.seed, card.arm, card.model) == (3, "taught", "b2-m")
    assert card.items == tuple(p.id for p in TEST)


def test_a_classifier_may_number_its_classes_in_its_own_order():
    other = Model(table=(0.1, 0.1, 0.8), bill=(0.5, 0.1, 0.4), stop=(0.1, 0.8, 0.1))
    assert scored(other, labels=("pay", "cancel", "book")).value == 1.0


def test_fingerprints_tell_what_was_asked_and_not_who():
    one = scored(GOOD).fingerprint
    assert scored(Model(table=(0, 0, 1), bill=(0, 0, 1), stop=(0, 0, 1))).fingerprint == one
    assert scored(GOOD, problems=TEST[:2]).fingerprint != one
    assert scored(GOOD, task=replace(TASK, version="2")).fingerprint != one
    assert scored(GOOD, labels=("pay", "cancel", "book")).fingerprint != one


def test_a_classifier_of_another_task_is_refused():
    with pytest.raises(DataError, match="knows none of the labels"):
        scored(GOOD, labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    with pytest.raises(DataError, match="no problems"):
        scored(GOOD, problems=())
