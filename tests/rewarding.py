"""Small reward models of both kinds, trained on the spot: replies of digits are better than replies of words."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from checkpoints import tiny_checkpoint, tiny_encoder
from tutelage.objectives import bradley_terry, critique_bradley_terry
from tutelage.prompts.critics import render_judged
from tutelage.prompts.dialects import BBH
from tutelage.records import Example, Pair, Prompt
from tutelage.train import Compared, FitSettings, Fixed
from tutelage.train.loop import fit

PAIRS = [
    Pair(prompt=Prompt.user(f"Q : what is {i} times {i + 2} ?\nA :"), chosen=f"it is {i * (i + 2)}", rejected="No, Bob does not.")
    for i in range(8)
]
CRITIQUES = ("The answer is a number.", "Bob lies.")


def compared(pairs: list[Pair] = PAIRS) -> list[tuple[Example, Example]]:
    """A critique of each side under the prompt that a critic is asked by."""
    return [
        tuple(
            Example(prompt=render_judged(BBH, asked=p.prompt, response=reply), completion=text)
            for reply, text in zip((p.chosen, p.rejected), CRITIQUES, strict=True)
        )  # pyright: ignore[reportReturnType]
        for p in pairs
    ]


def scalar_model(folder: Path, *, kind: str = "llama") -> Path:
    base = tiny_encoder(folder / "base") if kind == "bert" else tiny_checkpoint(folder / "base")
    settings = FitSettings(lr=1e-2, batch=8, epochs=5, head="class", classes=1)
    fit(model=base, source=Fixed(PAIRS), objective=bradley_terry(), settings=settings, seed=0, out=folder / "scalar")
    return folder / "scalar"


def critic_model(folder: Path, *, epochs: int = 30) -> Path:
    """It speaks a dialect of its own, so that what it is asked is short."""
    base = tiny_checkpoint(folder / "base", card={"dialect": "bbh"})
    settings = FitSettings(lr=1e-2, batch=8, epochs=epochs, schedule="linear")
    fit(model=base, source=Compared(compared()), objective=critique_bradley_terry(), settings=settings, seed=0, out=folder / "critic")
    return folder / "critic"


@cache
def shared(kind: str) -> Path:
    """One reward model of each kind for all tests of a process."""
    folder = Path(tempfile.mkdtemp(prefix="reward-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return scalar_model(folder) if kind == "scalar" else critic_model(folder)
