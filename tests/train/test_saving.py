"""Kills between two moves of files: what a fit finds afterwards is whole, or is made anew to the same bits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fits import go

from checkpoints import tiny_checkpoint
from tutelage.train.saving import tidied, whole_folder


class Enough(Exception):
    """Raised by a progress callback: a fit that ends here."""


def stop_at_three(done: int, total: int, loss: float) -> None:
    if done == 3:
        raise Enough


def dead_process() -> int:
    """The id of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "student")


@pytest.mark.parametrize("gone", ["state.safetensors", "place.json", "both", "nothing"])
def test_a_checkpoint_that_was_half_removed_does_not_break_the_next_fit(student: Path, tmp_path: Path, gone: str) -> None:
    """A finished fit's checkpoint is removed file by file, in no order; a kill may come in between."""
    whole = go("sft", student, student, tmp_path / "whole")
    state = tmp_path / "state"
    with pytest.raises(Enough):
        go("sft", student, student, tmp_path / "out", checkpoint=state, progress=stop_at_three)
    for name in {"both": ("state.safetensors", "place.json"), "nothing": ()}.get(gone, (gone,)):
        (state / name).unlink()
    seen: list[int] = []
    again = go("sft", student, student, tmp_path / "out", checkpoint=state, progress=lambda done, total, loss: seen.append(done))
    assert seen[0] == (3 if gone == "nothing" else 1)
    assert again.log == whole.log
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_a_checkpoint_that_stood_aside_when_its_process_died_is_found_again(student: Path, tmp_path: Path) -> None:
    """Replacing a folder takes two moves. Between them the old one has another name, and the new one is not there yet."""
    state = tmp_path / "state"
    with pytest.raises(Enough):
        go("sft", student, student, tmp_path / "out", checkpoint=state, progress=stop_at_three)
    killed = dead_process()
    state.rename(tmp_path / f".state.old-{killed}")
    shutil.copytree(tmp_path / f".state.old-{killed}", tmp_path / f".state.part-{killed}")
    seen: list[int] = []
    go("sft", student, student, tmp_path / "out", checkpoint=state, progress=lambda done, total, loss: seen.append(done))
    assert seen[0] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "state"]


def test_leftovers_of_the_living_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / f".out.old-{os.getpid()}"
    theirs = tmp_path / f".out.old-{dead_process()}"
    for folder in (mine, theirs, tmp_path / "out"):
        folder.mkdir()
    tidied(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == [mine.name, "out"]


def _write_and_fail(out: Path) -> None:
    with whole_folder(out) as part:
        (part / "a").write_text("two")
        raise Enough


def test_a_folder_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with whole_folder(out) as part:
        (part / "a").write_text("one")
    with pytest.raises(Enough):
        _write_and_fail(out)
    assert (out / "a").read_text() == "one"
    with whole_folder(out) as part:
        (part / "b").write_text("three")
    assert [p.name for p in out.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
