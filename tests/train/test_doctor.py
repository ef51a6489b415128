"""The table of invariances on real pairs: all pass on sound models, and the check can fail."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from checkpoints import tiny_checkpoint
from tutelage.errors import SettingsError
from tutelage.train import doctor
from tutelage.train.doctor import LossCheck, losses_table


def test_a_pair_passes_every_check(tmp_path: Path) -> None:
    table = losses_table(tiny_checkpoint(tmp_path / "student"), tiny_checkpoint(tmp_path / "teacher", seed=1))
    assert Counter(c.check for c in table.checks) == {
        "one example at a time": 7,
        "two halves": 7,
        "tiles of one token": 7,
        "padded right": 7,
        "padded left": 7,
        "masked examples left out": 7,
        "teacher is the student: zero": 4,
    }
    assert table.passed, [c for c in table.checks if not c.passed]
    assert any("shared ids" in note for note in table.notes)


def test_a_pair_of_unlike_tokenizers_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="different tokens"):
        losses_table(tiny_checkpoint(tmp_path / "student"), tiny_checkpoint(tmp_path / "teacher", "gpt2"))


def test_a_model_of_another_family_alone(tmp_path: Path) -> None:
    table = losses_table(tiny_checkpoint(tmp_path / "student", "mistral-window", window=64))
    assert table.passed
    assert any("padded, not packed" in note for note in table.notes)


def test_a_line_can_fail() -> None:
    assert not LossCheck(objective="x", check="y", measured=2 * doctor.SAME, bar=doctor.SAME).passed
