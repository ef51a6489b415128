"""CFT's prompt-tuned base and what is said of generators that are missing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import cast

import pytest

import tutelage
from tutelage.journal.folder import ArmJournal
from tutelage.lab import Lab
from tutelage.recipes import cft
from tutelage.tasks.folds import verify

pytestmark = pytest.mark.xdist_group("recipes")


@cache
def outcome():
    return tutelage.run(
        "cft", task="folds/*", teacher="bundled:teacher", student="bundled:student", preset="toy", arms=["untouched", "prompted"],
        task_options={"test_size": 10}, settings={"validation": 40},
    )  # fmt: skip


def note(arm: str, name: str):
    events = ArmJournal(outcome().folder / "seeds" / "0" / arm).events()
    return next(e["value"] for e in events if e["event"] == "note" and e["name"] == name)


def test_the_prompted_base_is_the_same_student_asked_in_its_best_wording():
    found = note("prompted", "wordings")
    assert list(found) == ["plain", "steps", "terse", "posthoc"]
    assert len(set(found.values())) > 1, "the wording matters"
    untouched, prompted = outcome().scorecards
    assert untouched.model == prompted.model
    assert outcome().fits == 0
    best = max(found, key=lambda name: found[name])
    assert (untouched.fingerprint == prompted.fingerprint) == (best == "plain"), "another wording is another measurement"


class Noted:
    """As much of a lab as drawing candidates needs."""

    def __init__(self, others):
        self.student, self.pool = self.model("s"), [self.model(f"p{i}") for i in range(others)]
        self.task = SimpleNamespace(verify=verify)
        self.notes = {}

    def model(self, name):
        return SimpleNamespace(name=name)

    def note(self, name, value):
        self.notes[name] = value

    def tally(self, *_, **__):
        pass

    def keep(self, _, records):
        return records


@pytest.mark.parametrize(("others", "arm", "said"), [(0, "cft", True), (2, "cft", False), (0, "one_generator", False)])
def test_a_lone_generator_is_noted_where_several_were_meant(others, arm, said):
    lab = Noted(others)
    settings = replace(cft.Settings(candidates=0), **cft.ARMS[arm].changes)
    cft._candidates(cast(Lab, lab), settings, [])
    assert ("generators" in lab.notes) == said
