"""Files of published data sets, in the folder that `TUTELAGE_DATA` names. There is no default: the package ships no rows."""

from __future__ import annotations

import os
from pathlib import Path

from tutelage.errors import DataError

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
