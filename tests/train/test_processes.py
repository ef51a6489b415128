"""Two processes give the gradient of one on the same window, for fixed data and for rollouts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

import forked
from checkpoints import tiny_checkpoint

HERE = Path(__file__).parent


def first_moment(state: Path) -> torch.Tensor:
    tensors = load_file(state / "state.safetensors")
    names = sorted(n for n in tensors if n.endswith("/exp_avg"))
    return torch.cat([tensors[n].flatten() for n in names])


def test_two_gloo_processes_give_the_gradient_of_one(tmp_path: Path) -> None:
    student, teacher = tiny_checkpoint(tmp_path / "student"), tiny_checkpoint(tmp_path / "teacher", seed=1)
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}", "OMP_NUM_THREADS": "1"}
    alone = forked.run(HERE / "spread.py", student, teacher, tmp_path / "1", env=environment)
    assert alone.returncode == 0, alone.stderr[-3000:]
    options = "--cpu --num_machines 1 --mixed_precision no --dynamo_backend no --num_processes 2 "
    options += "--num_cpu_threads_per_process 1 --main_process_port 0"
    command = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", *options.split()]
    command += [str(HERE / "spread.py"), str(student), str(teacher), str(tmp_path / "2")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind in ("sft", "on-policy", "grpo"):
        one, two = (first_moment(tmp_path / str(n) / f"{kind}-state") for n in (1, 2))
        assert one.numel() > 10_000
        assert float((one - two).norm() / one.norm()) < 1e-5, kind
