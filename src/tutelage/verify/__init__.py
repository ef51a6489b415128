"""(problem, text) -> Verdict. A verifier never raises on a model's text; what it cannot read it calls unparsed, which is not wrong.

`verifier("numeric", tolerance=0.01)` returns one by name. Those that own a sandbox or a model are classes
of their own modules: `code.Code`, `sql.Sql`, `judge.Judge`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from tutelage.errors import SettingsError, did_you_mean
from tutelage.records import Problem, Verdict

Verify = Callable[[Problem, str], Verdict]

_PLACES = {
    "exact": ("tutelage.verify.exact", "exact"),
    "choice": ("tutelage.verify.choice", "choice"),
    "numeric": ("tutelage.verify.numeric", "numeric"),
    "maths": ("tutelage.verify.maths", "maths"),
    "pattern": ("tutelage.verify.pattern", "pattern"),
    "json_schema": ("tutelage.verify.json_schema", "json_schema"),
    "constraints": ("tutelage.verify.constraints", "constraints"),
}
"""Name to module and function. Imported on first use."""


def verifier_names() -> tuple[str, ...]:
    return tuple(sorted(_PLACES))


def verifier(name: str, **options: Any) -> Verify:
    """The verifier of that name, with `options` set."""
    if name not in _PLACES:
        raise SettingsError(f"no verifier is called '{name}'", got=name, fix=did_you_mean(name, _PLACES))
    module, function = _PLACES[name]
    found: Verify = getattr(import_module(module), function)
    return partial(found, **options) if options else found
