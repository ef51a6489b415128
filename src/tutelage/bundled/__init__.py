"""The models that ship with the package: where their folders are. Loads nothing.

`scripts/pretrain_bundled.py` made `teacher` and `student`, `scripts/pretrain_bbh.py` the pair that speaks the wording of BIG-Bench
Hard, `bbh-teacher` and `bbh-student`; each folder has a card (README.md) and the log of its making.
"""

from __future__ import annotations

from pathlib import Path

from tutelage.errors import SettingsError, did_you_mean

_HERE = Path(__file__).parent
NAMES = ("teacher", "student")
BBH_NAMES = ("bbh-teacher", "bbh-student")


def folder(name: str) -> Path:
    """The folder of weights, tokenizer and configuration of a bundled model."""
    if name not in NAMES + BBH_NAMES:
        raise SettingsError(f"no bundled model is called '{name}'", got=name, fix=did_you_mean(name, NAMES + BBH_NAMES))
    return _HERE / name.replace("-", "_")


def checkpoints(name: str) -> tuple[Path, ...]:
    """Folders of earlier states of a bundled model, youngest first; item response needs models of different ability.

    Empty for models without any.
    """
    return tuple(sorted((folder(name) / "checkpoints").glob("step-*")))
