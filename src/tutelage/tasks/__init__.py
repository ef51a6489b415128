"""Tasks by name. A task is opened, not imported: the name's first part says which file of this folder knows it.

`open_task("bbh/navigate", {"test_size": 50})`; `list_tasks()` tells what there is without reading any data. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from tutelage.errors import SettingsError, did_you_mean
from tutelage.tasks.task import Task, Technique, Verify, by_skill

__all__ = ["Task", "Technique", "Verify", "by_skill", "list_tasks", "open_task"]

_FAMILIES = {
    "folds": "tutelage.tasks.folds",
    "gsm8k": "tutelage.tasks.gsm8k",
    "gsm8k-marked": "tutelage.tasks.gsm8k_marked",
    "bbh": "tutelage.tasks.bbh",
    "bbhlike": "tutelage.tasks.bbhlike",
    "clinc150": "tutelage.tasks.clinc150",
    "chains": "tutelage.tasks.chains",
    "file": "tutelage.tasks.file",
    "hub": "tutelage.tasks.hub",
}
"""First part of the name to the module with `load(name, options)` and `names()`."""

_NONE: Mapping[str, Any] = MappingProxyType({})


def open_task(name: str, options: Mapping[str, Any] = _NONE) -> Task:
    """The task of that name, read and split; `options` are the task's own (columns, sizes, verifier)."""
    family = name.split(":")[0] if ":" in name else name.split("/")[0]
    if family not in _FAMILIES:
        raise SettingsError(f"no task is called '{name}'", got=name, fix=did_you_mean(name, list_tasks()))
    module = import_module(_FAMILIES[family])
    known: tuple[str, ...] = module.names()
    if ":" not in name and name not in known:
        raise SettingsError(f"no task is called '{name}'", got=name, fix=did_you_mean(name, known))
    load: Callable[[str, Mapping[str, Any]], Task] = module.load
    return load(name, options)


def list_tasks() -> tuple[str, ...]:
    """Every name that can be opened; `file:PATH` and `hub:ID` stand for themselves. Says nothing of which data are present."""
    found: list[str] = []
    for module in _FAMILIES.values():
        found += import_module(module).names()
    return tuple(found)
