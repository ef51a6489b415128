"""The nouns: frozen records, their content ids, and their strict encoder and decoder.

A record's `id` is a tagged hash of its content without its origin, so equal content is equal wherever it came from; the origin
names the step, the parents, the model and the prompt, so any row of any table can be traced to its seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, ClassVar

import orjson

from tutelage.errors import DataError, InternalError
from tutelage.hashing import content_id

_STRICT = {"extra": "forbid", "strict": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a record came from."""

    __pydantic_config__: ClassVar = _STRICT
    step: str
    """The name of the `lab.keep` or task step that made it."""
    parents: tuple[str, ...] = ()
    """Ids of the records it was made from."""
    model: str | None = None
    """Id of the model that wrote it."""
    prompt: str | None = None
    """Id of the prompt that asked for it."""


class _Record:
    """What all records share. `id` leaves out the origin and every field named in `NOT_CONTENT`; it is computed once, at first use, so
    a mapping inside a record must not be changed."""

    __slots__ = ("_id",)
    NOT_CONTENT: ClassVar[tuple[str, ...]] = ("origin",)

    def __post_init__(self) -> None:
        # 1 and 1.0 are one number but two JSON texts: without this, a record given an int would come back with another id.
        for name in _float_fields(type(self)):
            object.__setattr__(self, name, _as_float(getattr(self, name), f"{type(self).__name__}.{name}"))

    @property
    def id(self) -> str:
        try:
            return self._id
        except AttributeError:
            object.__setattr__(self, "_id", content_id(self._identity()))
            return self._id

    def _identity(self) -> list[Any]:
        return [type(self).__name__, _content(self)]


@cache
def _content_fields(kind: type[_Record]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.name not in kind.NOT_CONTENT)  # pyright: ignore[reportArgumentType]


@cache
def _float_fields(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if "float" in str(f.type))


def _as_float(value: Any, where: str) -> Any:
    """Every number in `value` as a float; in the (start, end, weight) of spans the weight alone."""
    if value is None:
        return None
    if isinstance(value, tuple):
        if where == "Example.spans":
            return tuple((start, end, _as_float(weight, "weight of a span")) for start, end, weight in value)
        return tuple(_as_float(v, where) for v in value)
    if isinstance(value, Mapping):
        return {name: _as_float(v, where) for name, v in value.items()}
    number = float(value)
    if not math.isfinite(number):
        raise InternalError(f"{where} must be a finite number", got=value, fix="record a missing value as None")
    return number


def _content(value: Any) -> Any:
    if isinstance(value, _Record):
        return {name: _content(getattr(value, name)) for name in _content_fields(type(value))}
    if isinstance(value, tuple):
        return [_content(v) for v in value]
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a prompt: `system`, `user`, `assistant` or `tool`."""

    __pydantic_config__: ClassVar = _STRICT
    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(_Record):
    """What a model is asked. Rendered through the model's chat template where it has one, else as `text`."""

    __pydantic_config__: ClassVar = _STRICT
    NOT_CONTENT: ClassVar[tuple[str, ...]] = ("origin", "kind")
    messages: tuple[Message, ...]
    kind: str = ""
    """The prompt file and form that rendered it, for example `solve.plain`; planning answers by it. Not content."""

    @classmethod
    def user(cls, text: str, *, kind: str = "", system: str | None = None) -> Prompt:
        head = (Message(role="system", content=system),) if system else ()
        return cls(messages=(*head, Message(role="user", content=text)), kind=kind)

    @property
    def text(self) -> str:
        """The contents of all turns, for models without a chat template."""
        return "\n\n".join(m.content for m in self.messages)

    def _identity(self) -> list[Any]:
        return ["Prompt", [[m.role, m.content] for m in self.messages]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(_Record):
    """Something to be solved, with or without its answer."""

    __pydantic_config__: ClassVar = _STRICT
    text: str
    answer: str | None = None
    skill: str = ""
    """The sub-task or domain it belongs to; per-task steps of a paper run per skill."""
    choices: tuple[str, ...] = ()
    context: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Anything else the verifier or renderer needs, as JSON."""
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution(_Record):
    """A text that answers a problem, with its rationale."""

    __pydantic_config__: ClassVar = _STRICT
    problem: Problem
    text: str
    answer: str | None = None
    """The answer extracted from the text; None where none could be parsed."""
    technique: str = ""
    """Name of the technique prompt that asked for it; empty for the plain prompt."""
    sample: int = 0
    """Index among the samples of the same prompt: equal texts drawn twice stay two records."""
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(_Record):
    """What a verifier says of a text. Unparsed is not wrong: `parsed` tells them apart."""

    __pydantic_config__: ClassVar = _STRICT
    score: float
    """In [0, 1]; 1 is right."""
    extracted: str | None = None
    parsed: bool = True
    reason: str = ""
    item: str = ""
    """Id of the judged record, where there is one."""
    origin: Origin | None = field(default=None, compare=False)

    @property
    def right(self) -> bool:
        return self.parsed and self.score >= 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback(_Record):
    """How an item affected, or found, a student."""

    __pydantic_config__: ClassVar = _STRICT
    item: str
    """Id of the item."""
    signal: str
    """Which signal measured it, for example `one_shot`."""
    value: float | None
    """None where nothing could be measured: unscored is not zero."""
    n: int = 0
    """How many measurements stand behind the value."""
    stderr: float | None = None
    parts: tuple[float, ...] = ()
    """The single measurements in a fixed order (one per probe), so that reliability can be computed afterwards."""
    model: str = ""
    """Id of the student."""
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(_Record):
    """Chosen over rejected, with the prompt they are trained under (which need not be the one they were drawn with)."""

    __pydantic_config__: ClassVar = _STRICT
    prompt: Prompt
    chosen: str
    rejected: str
    kind: str = ""
    """What is compared, for example `rationale` or `question`."""
    margin: float | None = None
    """Difference of the feedback values."""
    context: Mapping[str, Any] = field(default_factory=dict, hash=False)
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(_Record):
    """What is trained on: completion after prompt."""

    __pydantic_config__: ClassVar = _STRICT
    prompt: Prompt
    completion: str
    spans: tuple[tuple[int, int, float], ...] = ()
    """(start, end, weight) in characters of the completion; unnamed characters weigh 1."""
    weight: float = 1.0
    """Weight of the whole example."""
    label: int | None = None
    """Class index, for the `class` head."""
    context: Mapping[str, Any] = field(default_factory=dict, hash=False)
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef(_Record):
    """A name for weights, with lineage. Weights are values: training takes one and returns another."""

    __pydantic_config__: ClassVar = _STRICT
    NOT_CONTENT: ClassVar[tuple[str, ...]] = ("origin", "path", "name")
    name: str
    """As the user wrote it, or `fit:<key>` for weights trained here."""
    digest: str
    """Of weights, tokenizer and chat template; for an endpoint of base URL and model."""
    path: str | None = None
    """Folder of the weights, where they are local. Not content."""
    adapter_of: str | None = None
    """Digest of the base model, where the folder holds an adapter only."""
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard(_Record):
    """How one model did on one task: every item's verdict, and all that could make two scorecards unlike."""

    __pydantic_config__: ClassVar = _STRICT
    name: str
    """What was evaluated, for example `student` or `untouched`."""
    task: str
    task_version: str
    model: str
    """Id of the model."""
    metric: str = "accuracy"
    value: float
    n: int
    parsed: float
    """Share of completions from which an answer could be extracted."""
    shots: int = 0
    items: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    """One per item, in the order of `items`."""
    by_skill: Mapping[str, float] = field(default_factory=dict, hash=False)
    fingerprint: str = ""
    """Hash of task, version, items, shots, prompt wording, template and decoding: unlike fingerprints are not compared."""
    seed: int = 0
    arm: str = ""
    origin: Origin | None = field(default=None, compare=False)


Record = Problem | Solution | Verdict | Feedback | Pair | Example | ModelRef | Scorecard | Prompt

_KINDS: dict[str, type] = {cls.__name__: cls for cls in (Problem, Solution, Verdict, Feedback, Pair, Example, ModelRef, Scorecard, Prompt)}


def encode(record: Record) -> bytes:
    """One line of JSON (no newline) that `decode` turns back into an equal record."""
    return orjson.dumps({"type": type(record).__name__, "id": record.id, "record": record})


@cache
def _adapter(kind: str) -> Any:
    from pydantic import TypeAdapter  # imported on first use: listing recipes must not pay for it

    return TypeAdapter(_KINDS[kind])


def decode(line: bytes | str) -> Record:
    """The record that `encode` wrote. Unknown types or fields and wrong types are refused, with the place named."""
    from pydantic import ValidationError

    try:
        row = orjson.loads(line)
        kind, body = row["type"], row["record"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as broken:
        raise DataError("record line is not one of ours", got=str(line)[:120], fix="the file is damaged or was edited by hand") from broken
    if not isinstance(kind, str) or kind not in _KINDS:
        raise DataError("record of an unknown type", got=kind, fix=f"known types: {', '.join(sorted(_KINDS))}")
    try:
        record = _adapter(kind).validate_json(orjson.dumps(body))
    except ValidationError as wrong:
        raise DataError(f"record of type {kind} has a wrong field", got=str(wrong.errors()[0])[:300]) from wrong
    if record.id != row.get("id"):
        raise InternalError(
            f"{kind} record does not hash to its own id", got=row.get("id"), fix="the file was edited or written by another version"
        )
    return record
