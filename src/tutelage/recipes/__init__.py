"""The recipes: one file each, found by listing this folder and by the entry point `tutelage.recipes` of other packages."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from tutelage.card import Arm, Card
from tutelage.errors import SettingsError, did_you_mean

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
    for entry in entry_points(group="tutelage.recipes"):
        if entry.name in found:
            raise SettingsError(
                "two recipes have one name", got=f"{entry.name} of {entry.value}", fix="rename the entry point of your package"
            )
        found[entry.name] = entry.value
    return found


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
