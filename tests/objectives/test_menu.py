"""The menu is importable without torch, describable, and composes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tutelage.errors import SettingsError
from tutelage.hashing import canonical
from tutelage.objectives import Ramp, Term, cross_entropy, dpo
from tutelage.train import FitSettings, Fixed, Lora, Reference


def test_recipes_can_import_training_without_torch() -> None:
    code = "import sys, tutelage.train, tutelage.objectives; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_descriptions_are_json_and_tell_settings_apart() -> None:
    described = {
        canonical(x.describe())
        for x in (cross_entropy(), dpo(), dpo(beta=0.2), dpo(nll=0.2), 0.5 * cross_entropy(), dpo() + cross_entropy())
    }
    assert len(described) == 6
    assert canonical(FitSettings(lr=1e-3).describe()) != canonical(FitSettings(lr=1e-3, lora=Lora()).describe())
    assert canonical(Fixed([]).describe())
    assert canonical(Reference().describe())


def test_a_weight_can_move_over_the_steps() -> None:
    ramp = Ramp(start=1.0, end=0.0, share=0.5)
    assert [ramp.at(p) for p in (0.0, 0.25, 0.5, 1.0)] == [1.0, 0.5, 0.0, 0.0]


def test_terms_refuse_what_they_cannot_mean() -> None:
    with pytest.raises(SettingsError, match="did you mean"):
        Term(name="x", function="a:b", takes=("log_prob",), grain="token", unit="token")
    with pytest.raises(SettingsError, match="cannot be counted"):
        Term(name="x", function="a:b", takes=("log_probs",), grain="pair", unit="token")
