"""Run alone, or under `accelerate launch`: one step of each kind with a checkpoint, whose first moment is the gradient."""

from __future__ import annotations

import sys
from pathlib import Path

from accelerate import PartialState
from fits import go

if __name__ == "__main__":
    student, teacher, work = map(Path, sys.argv[1:4])
    PartialState(cpu=True)
    for kind in ("sft", "on-policy", "grpo"):
        go(kind, student, teacher, work / kind, checkpoint=work / f"{kind}-state", steps=1, checkpoint_every=1, clip=None, batch=5)
