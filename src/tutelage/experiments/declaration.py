"""What a recipe declared, when it was committed, and whether it still stands.

The declaration is what decides a result before it is known: REPRODUCE with the presets, arms and settings that it runs under. It is read
from the text of the recipe's file, never executed, so that an old commit can be asked what it declared.
"""

from __future__ import annotations

import ast
import importlib.util
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import InternalError, SettingsError
from tutelage.hashing import content_id
from tutelage.recipes import Recipe

NOT_DECLARED = frozenset({"CARD", "TOY"})
"""Names at the top of a recipe that do not bear on a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The commit that declared what is run now."""

    seal: str
    """Content id of the declaration."""
    commit: str = ""
    """Empty where nothing was committed."""
    at_s: int = 0
    """When it was committed, in seconds since 1970."""
    problem: str = ""
    """Why this is no declaration; empty where it is one."""


def seal_of(source: str) -> str | None:
    """Content id of the declaration in a recipe's text: every constant at its top, and the fields of its Settings, whatever their layout
    and docstrings. None where it declares no experiment or cannot be read."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    parts: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Settings":
            fields = [ast.dump(field) for field in node.body if isinstance(field, ast.AnnAssign)]
            parts["Settings"] = "\n".join(fields)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id not in NOT_DECLARED and node.value is not None:
                parts[target.id] = ast.dump(node.value)
    return content_id(parts) if "REPRODUCE" in parts else None


def recipe_file(recipe: Recipe) -> Path:
    spec = importlib.util.find_spec(recipe.module)
    if spec is None or spec.origin is None:
        raise InternalError(f"the file of recipe '{recipe.name}' cannot be found", got=recipe.module)
    return Path(spec.origin).resolve()


def repository_of(file: Path) -> Path | None:
    """The work tree that the file stands in; None outside of git."""
    found = _git(file.parent, "rev-parse", "--show-toplevel")
    return None if found is None else Path(found)


def declared(recipe: Recipe) -> Declared:
    """The oldest commit since which the recipe's declaration has been what it is now."""
    file = recipe_file(recipe)
    seal = seal_of(file.read_text(encoding="utf-8"))
    if seal is None:
        raise SettingsError(
            f"recipe '{recipe.name}' declares no experiment", got=f"no REPRODUCE in {file.name}", fix="declare one: docs/guides/compare.md"
        )
    top = repository_of(file)
    if top is None:
        return Declared(seal=seal, problem=f"{file.name} is not in a git work tree, so nothing shows when it was declared")
    name = file.relative_to(top).as_posix()
    commits = (_git(top, "log", "--format=%H %ct", "--", name) or "").split("\n")
    standing = Declared(seal=seal, problem=f"the declaration in {name} is not committed")
    for line in filter(None, commits):
        commit, at_s = line.split()
        if seal_of(_git(top, "show", f"{commit}:{name}") or "") != seal:
            break
        standing = Declared(seal=seal, commit=commit, at_s=int(at_s))
    return standing


def code_state(file: Path) -> dict[str, object]:
    """The commit that the code stands at, and which of the package's files differ from it."""
    top = repository_of(file)
    if top is None:
        return {"commit": "", "changed": []}
    changed = _git(top, "status", "--porcelain", "--untracked-files=no", "--", "src") or ""
    return {
        "commit": _git(top, "rev-parse", "HEAD") or "",
        "changed": sorted(line[3:] for line in changed.split("\n") if line),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, without the last line end; None where it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
