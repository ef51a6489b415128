"""The recipes: one file each, found by listing this folder and by the entry point `tutelage.recipes` of other packages."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.card import Arm, Card
from tutelage.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "tutelage.recipes"
PARTS = ("CARD", "Settings", "LAPTOP", "TOY", "ARMS", "run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    name: str
    doc: str
    card: Card
    settings: type
    laptop: Mapping[str, Any]
    toy: Mapping[str, Any]
    arms: Mapping[str, Arm]
    run: Callable[..., Any]


def _paths() -> dict[str, str]:
    """Recipe name -> module path. A file `verified_sampling.py` is the recipe `verified-sampling`."""
    found = {m.name.replace("_", "-"): f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__)}
    for entry in _outside():
        if entry.name in found:
            raise SettingsError(
                "two recipes have one name", got=f"{entry.name} of {entry.value}", fix="rename the entry point of your package"
            )
        found[entry.name] = entry.value
    return found


def _outside() -> Iterable[EntryPoint]:
    """Entry points of other packages. Reading all packages' metadata takes a tenth of a second, so it is done only where some
    installed package names the group at all."""
    for folder in map(Path, sys.path):
        for file in folder.glob("*.dist-info/entry_points.txt"):
            if f"[{GROUP}]" in file.read_text(encoding="utf-8", errors="replace"):
                from importlib.metadata import entry_points

                return entry_points(group=GROUP)
    return ()


def recipe_names() -> list[str]:
    return sorted(_paths())


def load_recipe(name: str) -> Recipe:
    """The recipe, imported and checked for its parts."""
    paths = _paths()
    if name not in paths:
        raise SettingsError("unknown recipe", got=name, fix=did_you_mean(name, paths))
    module = importlib.import_module(paths[name])
    missing = [part for part in PARTS if not hasattr(module, part)]
    if missing:
        raise SettingsError(f"recipe '{name}' lacks a part", got=", ".join(missing), fix=f"a recipe file defines {', '.join(PARTS)}")
    return Recipe(
        name=name,
        doc=module.__doc__ or "",
        card=module.CARD,
        settings=module.Settings,
        laptop=module.LAPTOP,
        toy=module.TOY,
        arms=module.ARMS,
        run=module.run,
    )
