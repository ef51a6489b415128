"""A JSON document inside a text, checked against a schema."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from tutelage.errors import DataError, missing_extra
from tutelage.records import Problem, Verdict
from tutelage.verify.extract import READ_LIMIT

_FENCED = re.compile(r"```[ \t]*(?:json|JSON)?[ \t]*\n(.*?)```", re.DOTALL)


def json_schema(problem: Problem, text: str) -> Verdict:
    """Whether the JSON document in `text` satisfies `context["schema"]`, and equals the problem's answer where there is one.

    The document is the last fenced block that parses, else the whole text, else the last balanced object or list. References to other
    documents are not followed: nothing is fetched.
    """
    schema = problem.context.get("schema")
    if not isinstance(schema, dict):
        return Verdict(score=0.0, parsed=False, reason="the problem has no schema")
    found = json_inside(text)
    if found is None:
        return Verdict(score=0.0, parsed=False, reason="no JSON document in the text")
    written, value = found
    try:
        problems = _errors(schema, value)
    except RecursionError:
        return Verdict(score=0.0, extracted=written, parsed=False, reason="the document is nested too deeply")
    if problems:
        return Verdict(score=0.0, extracted=written, reason=problems[:300])
    if problem.answer is not None:
        wanted = json_inside(problem.answer)
        if wanted is None or wanted[1] != value:
            return Verdict(score=0.0, extracted=written, reason="valid, but another value")
    return Verdict(score=1.0, extracted=written, reason="valid")


def json_inside(text: str) -> tuple[str, Any] | None:
    """The document in the text as written and as a value; None where there is none. NaN and repeated keys are not JSON here."""
    text = text[-READ_LIMIT:]
    for candidate in (*reversed(_FENCED.findall(text)), text):
        value = _load(candidate.strip())
        if value is not None:
            return candidate.strip(), value[0]
    return _last_balanced(text)


def _load(text: str) -> tuple[Any] | None:
    try:
        orjson.loads(text)  # refuses NaN, trailing commas and too deep nesting before the slower reader sees them
        return (json.loads(text, object_pairs_hook=_once),)
    except (ValueError, RecursionError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _last_balanced(text: str) -> tuple[str, Any] | None:
    """The last `{...}` or `[...]` that parses, tried from at most 50 closing marks."""
    ends = [m.start() for m in re.finditer(r"[}\]]", text)][-50:]
    for end in reversed(ends):
        depth = 0
        for start in range(end, max(-1, end - 20_000), -1):
            depth += {"}": 1, "]": 1, "{": -1, "[": -1}.get(text[start], 0)
            if depth == 0:
                value = _load(text[start : end + 1])
                if value is not None:
                    return text[start : end + 1], value[0]
                break
    return None


def _errors(schema: dict[str, Any], value: Any) -> str:
    try:
        import jsonschema
        from jsonschema.validators import validator_for
        from referencing import Registry
        from referencing.exceptions import Unresolvable
    except ModuleNotFoundError as missing:
        raise missing_extra("jsonschema", "verify") from missing
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
        checker = kind(schema, registry=Registry())
        first = next(iter(sorted(checker.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))), None)
    except jsonschema.SchemaError as broken:
        raise DataError(f"schema of a problem is not a JSON schema: {broken.message}", got=str(schema)[:200]) from broken
    except Unresolvable as missing:
        raise DataError(
            "schema of a problem refers to another document", got=str(missing)[:200], fix="put the definitions into $defs"
        ) from missing
    return "" if first is None else f"{first.json_path}: {first.message}"
