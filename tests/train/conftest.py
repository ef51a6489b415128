"""A student and the opened place of its fit, for tests of what happens to rollouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpoints import tiny_checkpoint
from tutelage.train import FitSettings
from tutelage.train.feeds import Site
from windows import opened_site


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("models") / "student")


@pytest.fixture(scope="module")
def site(student: Path) -> Site:
    return opened_site(student, FitSettings(lr=1e-3, batch=3))
