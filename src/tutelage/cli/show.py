"""One recipe as text or JSON: what a reader of the paper, or of nothing, needs before running it."""

from __future__ import annotations

import ast
import itertools
import re
import sys
import textwrap
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tutelage.recipes import Recipe


def field_docs(settings: type) -> dict[str, str]:
    """The docstring under each field: what it is and where its default is from. Read from the source, so that it is written once."""
    source = Path(str(sys.modules[settings.__module__].__file__)).read_text(encoding="utf-8")
    # The class alone, up to the next line that is not indented: reading a whole recipe takes five times as long.
    start = source.index(f"\nclass {settings.__name__}")
    following_line = re.compile(r"\n(?=[^\s#])").search(source, start + 1)
    tree = ast.parse(source[start : following_line.start() if following_line else None])
    docs: dict[str, str] = {}
    for here, following in itertools.pairwise(next(node for node in tree.body if isinstance(node, ast.ClassDef)).body):
        if isinstance(here, ast.AnnAssign) and isinstance(here.target, ast.Name) and isinstance(following, ast.Expr):
            value = following.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docs[here.target.id] = " ".join(value.value.split())
    return docs


def card_as_dict(recipe: Recipe) -> dict[str, Any]:
    docs = field_docs(recipe.settings)
    defaults = recipe.settings()
    return {
        "name": recipe.name,
        "doc": recipe.doc.strip(),
        "card": asdict(recipe.card),
        "arms": {name: asdict(arm) for name, arm in recipe.arms.items()},
        "settings": {
            f.name: {
                "paper": _plain(getattr(defaults, f.name)),
                "laptop": _plain(recipe.laptop.get(f.name, getattr(defaults, f.name))),
                "doc": docs.get(f.name, ""),
            }
            for f in fields(recipe.settings)
        },
    }


def card_as_text(recipe: Recipe) -> str:
    card = recipe.card
    lines = [card.title, "", recipe.doc.strip(), "", "Needs"]
    lines += [f"  {role}: {', '.join(needs) or 'depends on the settings'}" for role, needs in card.needs.items()]
    some = card.demo_arms and set(card.demo_arms) != set(recipe.arms)
    lines += ["", "Arms" + (" (* run by default, --arm NAME or --arm all for others)" if some else "")]
    width = max(len(name) for name in recipe.arms)
    marks = {card.arm: " (the system)", card.baseline: " (the baseline)"}
    for name, arm in recipe.arms.items():
        star = "*" if some and name in card.demo_arms else " "
        lines.append(f"{star} {name:<{width}}  {arm.summary}{marks.get(name, '')}")
    if card.claims:
        lines += ["", "Published"]
        lines += [f"  {claim.what}: {claim.published} ({claim.where})" for claim in card.claims]
    if card.deviations:
        lines += ["", "Deviations"]
        lines += [textwrap.fill(d, 130, initial_indent="  - ", subsequent_indent="    ") for d in card.deviations]
    lines += ["", "Settings (default, then --preset laptop where it differs)"]
    docs, defaults = field_docs(recipe.settings), recipe.settings()
    for f in fields(recipe.settings):
        default = _short(getattr(defaults, f.name))
        laptop = f" | laptop {_short(recipe.laptop[f.name])}" if f.name in recipe.laptop else ""
        lines.append(f"  {f.name} = {default}{laptop}")
        lines.append(textwrap.fill(docs.get(f.name, ""), 130, initial_indent="      ", subsequent_indent="      "))
    return "\n".join(line for line in lines if line is not None)


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _short(value: Any) -> str:
    if not hasattr(value, "__dataclass_fields__"):
        return repr(value)
    changed = [f"{f.name}={getattr(value, f.name)!r}" for f in fields(value) if getattr(value, f.name) != f.default]
    return f"{type(value).__name__}({', '.join(changed)})"
