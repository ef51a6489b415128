"""Published data sets: their files, in the folder that `TUTELAGE_DATA` names (there is no default: the package ships no rows), and the task
that their rows make once they are dealt out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import DataError
from tutelage.records import Problem
from tutelage.tasks.splits import prove_disjoint, require_rows
from tutelage.tasks.task import Task

VARIABLE = "TUTELAGE_DATA"


def data_folder(task: str) -> Path:
    """The folder that holds the published data sets, one sub-folder each."""
    named = os.environ.get(VARIABLE, "").strip()
    if not named:
        raise DataError(
            f"task '{task}' reads published files, and the environment variable {VARIABLE} is not set",
            got=f"{VARIABLE} is empty",
            fix=f"set {VARIABLE} to the folder that holds {task.split('/')[0]}/",
        )
    folder = Path(named)
    if not folder.is_dir():
        raise DataError(
            f"{VARIABLE} does not name a folder", got=str(folder), fix=f"set {VARIABLE} to the folder that holds {task.split('/')[0]}/"
        )
    return folder


def published_file(task: str, relative: str) -> Path:
    """The file of a published set; a DataError that names variable and file where it is missing."""
    path = data_folder(task) / relative
    if not path.is_file():
        raise DataError(
            f"task '{task}' needs the file {relative} below {VARIABLE}",
            got=str(path),
            fix=f"put the published file there, or set {VARIABLE}",
        )
    return path


def published_task(
    name: str, splits: Mapping[str, tuple[Problem, ...]], *, seeds: int, fix: str, options: Mapping[str, Any], **facts: Any
) -> Task:
    """The task of these splits: no question in two of them, at least `seeds` seeds and two rows to choose and to test on. `facts` are the
    other fields of `Task`."""
    prove_disjoint(splits)
    require_rows(splits, {"seed": seeds, "validation": 2, "test": 2}, name=name, fix=fix)
    return Task(name=name, options=dict(options), **{split: splits[split] for split in ("seed", "train", "validation", "test")}, **facts)
