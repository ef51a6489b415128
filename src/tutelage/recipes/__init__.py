"""The recipes: one file each, found by listing this folder and by the entry point `tutelage.recipes` of other packages."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.card import Arm, Card, Experiment
from tutelage.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "tutelage.recipes"
TWICE = "twice: "
"""Marks the path of a recipe of another package whose name is taken."""
PARTS = ("CARD", "Settings", "LAPTOP", "TOY", "ARMS", "run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A system as its module describes it, found by name."""

    name: str
    doc: str
    card: Card
    settings: type
    laptop: Mapping[str, Any]
    toy: Mapping[str, Any]
    arms: Mapping[str, Arm]
    run: Callable[..., Any]
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    """The module's REPRODUCE: declared experiments by name; the only one of a recipe has the empty name."""
    module: str = ""
    """Where it was imported from."""


def _paths() -> dict[str, str]:
    """Recipe name -> module path. A file `verified_sampling.py` is the recipe `verified-sampling`."""
    found = {m.name.replace("_", "-"): f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__)}
    for entry in _outside():
        # Two of one name: neither is run, and the error comes when the name is asked for; other recipes are not held up.
        found[entry.name] = f"{TWICE}{entry.value}" if entry.name in found else entry.value
    return found


def _outside() -> Iterable[EntryPoint]:
    """Entry points of other packages. Reading all packages' metadata takes a tenth of a second, so it is done only where some
    installed package names the group at all."""
    for folder in sys.path:
        names = os.listdir(folder or os.curdir) if os.path.isdir(folder or os.curdir) else []
        for name in names:
            if name.endswith((".dist-info", ".egg-info")) and _names_recipes(os.path.join(folder, name, "entry_points.txt")):
                from importlib.metadata import entry_points

                return entry_points(group=GROUP)
    return ()


def _names_recipes(file: str) -> bool:
    try:
        with open(file, "rb") as read:
            return f"[{GROUP}]".encode() in read.read()
    except OSError:  # most packages have none
        return False


def recipe_names() -> list[str]:
    return sorted(_paths())


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a list says of a recipe."""

    name: str
    kind: str
    family: str
    title: str
    claim: str


def recipe_lines() -> list[Line]:
    """One line per recipe, by name. Read from the text of the CARD where that says them plainly, so that listing dozens of recipes
    does not import dozens of recipes; a card that computes its fields is imported."""
    return [_line(name, path) for name, path in sorted(_paths().items())]


def _line(name: str, path: str) -> Line:
    try:
        said = _card_text(path)
        if said is None:
            card = load_recipe(name).card
            said = {f: getattr(card, f) for f in ("kind", "family", "title", "claim")}
    except SettingsError as broken:  # of a package outside; the others can be listed all the same
        said = {"kind": "broken", "family": "", "title": "", "claim": f"cannot be used: {broken.message} ({broken.got})"}
    return Line(name=name, **said)


def _card_text(path: str) -> dict[str, str] | None:
    import ast
    from importlib.util import find_spec

    try:
        spec = find_spec(path)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    text = Path(spec.origin).read_text(encoding="utf-8")
    start = text.find("\nCARD = Card(")
    end = text.find("\n)", start)
    if start < 0 or end < 0:
        return None
    call = ast.parse(text[start : end + 2].strip()).body[0].value  # pyright: ignore[reportAttributeAccessIssue]
    found = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
    fields = ("kind", "family", "title", "claim")
    return {f: str(found[f]) for f in fields} if all(f in found for f in fields) else None


def load_recipe(name: str) -> Recipe:
    """The recipe, imported and checked for its parts."""
    paths = _paths()
    if name not in paths:
        raise SettingsError("unknown recipe", got=name, fix=did_you_mean(name, paths))
    if paths[name].startswith(TWICE):
        raise SettingsError(
            "two recipes have one name",
            got=f"{name}, also of {paths[name].removeprefix(TWICE)}",
            fix="rename the entry point of the other package",
        )
    try:
        module = importlib.import_module(paths[name])
    except ImportError as broken:
        raise SettingsError(
            f"recipe '{name}' cannot be imported",
            got=str(broken),
            fix=f"install or repair the package that names {paths[name]} as its entry point, or uninstall it",
        ) from broken
    missing = [part for part in PARTS if not hasattr(module, part)]
    if missing:
        raise SettingsError(f"recipe '{name}' lacks a part", got=", ".join(missing), fix=f"a recipe file defines {', '.join(PARTS)}")
    declared = getattr(module, "REPRODUCE", {})
    return Recipe(
        name=name,
        doc=module.__doc__ or "",
        card=module.CARD,
        settings=module.Settings,
        laptop=module.LAPTOP,
        toy=module.TOY,
        arms=module.ARMS,
        run=module.run,
        experiments={"": declared} if isinstance(declared, Experiment) else declared,
        module=paths[name],
    )
