"""Whether a JSON value fits a JSON schema: the part of the language that endpoints accept for structured output.

Unknown keywords are refused rather than ignored: an answer must not pass for fitting because we did not understand the question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.errors import SettingsError

_ANNOTATIONS = frozenset({"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated"})
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_KEYWORDS = frozenset(
    {
        "type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems",
        "uniqueItems", "minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "anyOf", "oneOf", "allOf", "not", "$ref", "$defs", "definitions", "minProperties", "maxProperties",
    }
)  # fmt: skip


def read_schema(text: str) -> dict[str, Any]:
    """The schema in `text`, checked for keywords that we cannot judge."""
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as problem:
        raise SettingsError("JSON schema is not JSON", got=str(problem)) from problem
    if not isinstance(schema, dict):
        raise SettingsError("JSON schema must be an object", got=text[:120])
    _check(schema, "#")
    return schema


def _check(schema: Any, where: str) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise SettingsError(f"JSON schema has something else than a schema at {where}", got=repr(schema)[:80])
    for key, value in schema.items():
        if key in _ANNOTATIONS:
            continue
        if key not in _KEYWORDS:
            raise SettingsError(f"JSON schema uses a keyword that cannot be checked here, at {where}", got=key, fix="leave it out")
        if key in ("properties", "$defs", "definitions"):
            for name, part in value.items():
                _check(part, f"{where}/{key}/{name}")
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            for number, part in enumerate(value):
                _check(part, f"{where}/{key}/{number}")
        elif key in ("items", "additionalProperties", "not"):
            _check(value, f"{where}/{key}")
        elif key == "type":
            for name in value if isinstance(value, list) else [value]:
                if name not in _TYPES:
                    raise SettingsError(f"JSON schema names an unknown type at {where}", got=name, fix=f"known: {', '.join(_TYPES)}")
        elif key == "pattern":
            try:
                re.compile(value)
            except re.error as problem:
                raise SettingsError(f"JSON schema has a pattern that is no regular expression, at {where}", got=str(problem)) from problem
        elif key == "$ref" and not str(value).startswith("#"):
            raise SettingsError("JSON schema refers to another document", got=value, fix="copy the part into $defs")


def misfit(value: Any, schema: dict[str, Any]) -> str | None:
    """The first thing wrong with `value`, in words with its place; None where it fits."""
    return next(_misfits(value, schema, schema, "answer"), None)


def _misfits(value: Any, schema: Any, root: dict[str, Any], at: str) -> Iterator[str]:
    if schema is True or schema == {}:
        return
    if schema is False:
        yield f"{at} is not allowed"
        return
    if "$ref" in schema:
        yield from _misfits(value, _resolve(schema["$ref"], root), root, at)
    yield from _kind(value, schema, at)
    if isinstance(value, dict):
        yield from _object(value, schema, root, at)
    elif isinstance(value, list):
        yield from _array(value, schema, root, at)
    elif isinstance(value, str):
        yield from _string(value, schema, at)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _number(value, schema, at)
    yield from _combined(value, schema, root, at)


def _resolve(ref: str, root: dict[str, Any]) -> Any:
    part: Any = root
    for name in ref.removeprefix("#").strip("/").split("/"):
        if name:
            try:
                part = part[name.replace("~1", "/").replace("~0", "~")]
            except (KeyError, TypeError):
                raise SettingsError("JSON schema refers to a part that it does not have", got=ref) from None
    return part


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _same(one: Any, other: Any) -> bool:
    """JSON equality: 1 and 1.0 are the same number, 1 and true are not the same value."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other


def _kind(value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is(value, name) for name in names):
            yield f"{at} must be of type {' or '.join(names)}, not {_short(value)}"
    if "enum" in schema and not any(_same(value, allowed) for allowed in schema["enum"]):
        yield f"{at} must be one of {_short(schema['enum'])}, not {_short(value)}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{at} must be {_short(schema['const'])}, not {_short(value)}"


def _object(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at} lacks {name!r}"
    for name, part in value.items():
        if name in known:
            yield from _misfits(part, known[name], root, f"{at}.{name}")
        elif "additionalProperties" in schema:
            if schema["additionalProperties"] is False:
                yield f"{at} has {name!r}, which is not asked for"
            else:
                yield from _misfits(part, schema["additionalProperties"], root, f"{at}.{name}")
    yield from _bounds(len(value), schema, "minProperties", "maxProperties", f"{at} has {{}} entries")


def _array(value: list[Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    first = schema.get("prefixItems", [])
    for number, part in enumerate(value):
        rule = first[number] if number < len(first) else schema.get("items", True)
        yield from _misfits(part, rule, root, f"{at}[{number}]")
    yield from _bounds(len(value), schema, "minItems", "maxItems", f"{at} has {{}} items")
    if schema.get("uniqueItems") and any(_same(a, b) for i, a in enumerate(value) for b in value[:i]):
        yield f"{at} repeats an item"


def _string(value: str, schema: dict[str, Any], at: str) -> Iterator[str]:
    yield from _bounds(len(value), schema, "minLength", "maxLength", f"{at} has {{}} characters")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at} must match {schema['pattern']!r}, not {_short(value)}"


def _number(value: float, schema: dict[str, Any], at: str) -> Iterator[str]:
    yield from _bounds(value, schema, "minimum", "maximum", f"{at} is {{}}")
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"{at} is {value}, it must be above {schema['exclusiveMinimum']}"
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        yield f"{at} is {value}, it must be below {schema['exclusiveMaximum']}"
    step = schema.get("multipleOf")
    if step is not None and abs(value / step - round(value / step)) > 1e-9:
        yield f"{at} is {value}, it must be a multiple of {step}"


def _bounds(amount: float, schema: dict[str, Any], least: str, most: str, words: str) -> Iterator[str]:
    if least in schema and amount < schema[least]:
        yield f"{words.format(amount)}, it must be at least {schema[least]}"
    if most in schema and amount > schema[most]:
        yield f"{words.format(amount)}, it must be at most {schema[most]}"


def _combined(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    for part in schema.get("allOf", ()):
        yield from _misfits(value, part, root, at)
    for name in ("anyOf", "oneOf"):
        if name in schema:
            reasons = [next(_misfits(value, part, root, at), None) for part in schema[name]]
            fits = reasons.count(None)
            if fits == 0:
                yield f"{at} fits none of the alternatives ({reasons[0]})"
            elif name == "oneOf" and fits > 1:
                yield f"{at} fits {fits} alternatives, it must fit one"
    if "not" in schema and next(_misfits(value, schema["not"], root, at), None) is None:
        yield f"{at} is {_short(value)}, which is not allowed"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def json_in(text: str) -> Any:
    """The JSON value that an answer consists of, be it alone, in a fenced block, or the one object or array amid prose.

    Raises ValueError with the reason. Nothing is mended: an answer that needs mending is asked again.
    """
    body = text.strip()
    if fenced := re.search(r"```(?:json)?\s*\n(.*?)```", body, flags=re.DOTALL):
        body = fenced.group(1).strip()
    try:
        return json.loads(body)
    except json.JSONDecodeError as problem:
        start = re.search(r"[{\[]", body)
        if start is None:
            raise ValueError(f"no JSON in it ({problem})") from None
        try:
            value, _ = json.JSONDecoder().raw_decode(body[start.start() :])
        except json.JSONDecodeError as inner:
            raise ValueError(f"not valid JSON ({inner})") from None
        return value
