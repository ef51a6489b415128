"""A fit killed with SIGKILL and continued gives the weights of an undisturbed one, to the last bit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

import forked
from checkpoints import tiny_checkpoint
from tutelage.errors import StorageError
from tutelage.train.state import Live, load_state, save_state

HERE = Path(__file__).parent


def test_killed_fits_continue_to_the_same_bits(tmp_path: Path) -> None:
    student, teacher = tiny_checkpoint(tmp_path / "student"), tiny_checkpoint(tmp_path / "teacher", seed=1)
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}", "OMP_NUM_THREADS": "1"}
    done = forked.run(HERE / "kill_and_continue.py", student, teacher, tmp_path / "work", env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert sorted(found) == ["dpo", "grpo", "on-policy", "sft"]
    rows = [row for kind in found.values() for row in kind]
    assert len(rows) == 12
    for place, killed, nothing_written, first, same, left in rows:
        assert killed
        assert nothing_written
        assert first == (place - 1) // 2 * 2 + 1  # the step after the last checkpoint that was written
        assert same
        assert left == []


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    live = Live(trained={"w": torch.nn.Parameter(torch.zeros(300))}, buffers={}, optimisers=[])
    save_state(tmp_path / "checkpoint", "key", live, {"step": 2})
    assert load_state(tmp_path / "checkpoint", "key", live) == {"step": 2}
    tensors = tmp_path / "checkpoint" / "state.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:100])
    with pytest.raises(StorageError, match="remove the folder"):
        load_state(tmp_path / "checkpoint", "key", live)
