"""The cells of a row: texts, turns, replies and what stands beside them, read strictly and written back.

What cannot be held is refused (`Unfit`) with what would help. Columns that nobody asked for are kept in a record's `context`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from tutelage.records import Example, Message, Pair, Problem, Prompt

ROLES = ("system", "user", "assistant", "tool")
DESIRABLE = "desirable"
"""Key of `Example.context` for the thumb up or down of the `label` shape."""
ALPACA_INPUT = "alpaca_input"
"""Key of `Example.context` for the part of a prompt that alpaca keeps in its column `input`."""

Row = dict[str, Any]
Content = Example | Pair | Problem


class Unfit(Exception):
    """A row, or a record, that a shape cannot hold: what is wrong and what would help."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix


def text_in(row: Row, column: str, *, empty: bool = False) -> str:
    value = row.get(column)
    if isinstance(value, str):
        if value.strip() or empty:
            return value
        raise Unfit(f"'{column}' is empty", "write its text, or leave the row out")
    raise Unfit(f"'{column}' holds {called(value)}", "it must be text")


def turns_in(
    value: Any, column: str, *, role: str = "role", content: str = "content", names: Mapping[str, str] | None = None
) -> tuple[Message, ...]:
    if isinstance(value, str):
        raise Unfit(
            f"'{column}' is a text{' that holds JSON' if is_json(value) else ''}, not a list of turns",
            "write the list itself, not its text",
        )
    if not isinstance(value, list | tuple):
        raise Unfit(f"'{column}' holds {called(value)}", f'write a list like [{{"{role}": ..., "{content}": ...}}]')
    turns = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict):
            raise Unfit(f"turn {number} of '{column}' is {called(turn)}", f"every turn is an object with '{role}' and '{content}'")
        beside = sorted(key for key, kept in turn.items() if key not in (role, content) and kept not in (None, [], {}))
        if beside:
            raise Unfit(
                f"turn {number} of '{column}' has '{beside[0]}', which has no place here", "remove it, or write it into the content"
            )
        who, said = turn.get(role), turn.get(content)
        who = (names or {}).get(who, who) if isinstance(who, str) else who
        if who not in ROLES:
            known = ", ".join(names) if names else ", ".join(ROLES)
            raise Unfit(f"turn {number} of '{column}' is by {called(who) if not isinstance(who, str) else repr(who)}", f"roles are {known}")
        if not isinstance(said, str):
            raise Unfit(f"turn {number} of '{column}' says {called(said)}", f"'{content}' must be text")
        turns.append(Message(role=who, content=said))
    if not turns:
        raise Unfit(f"'{column}' has no turns", "a conversation needs a question and a reply")
    return tuple(turns)


def prompt_in(row: Row, column: str = "prompt") -> Prompt:
    value = row.get(column)
    if isinstance(value, str) and not is_turns(value):
        return Prompt.user(text_in(row, column))
    return Prompt(messages=turns_in(value, column))


def reply_in(value: Any, column: str) -> str:
    """Text, or a list of one assistant turn."""
    if isinstance(value, str) and not is_turns(value):
        if not value.strip():
            raise Unfit(f"'{column}' is empty", "write the reply, or leave the row out")
        return value
    turns = turns_in(value, column)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise Unfit(f"'{column}' must be one assistant turn", "put the turns before it into the prompt")
    return turns[0].content


def conversation_of(turns: tuple[Message, ...], column: str) -> tuple[Prompt, str]:
    if turns[-1].role != "assistant":
        raise Unfit(f"'{column}' ends with a turn of the {turns[-1].role}", "the last turn must be the reply to be learned")
    if len(turns) == 1:
        raise Unfit(f"'{column}' has a reply but no question", "put the question before it")
    if not turns[-1].content.strip():
        raise Unfit(f"the reply in '{column}' is empty", "write it, or leave the row out")
    return Prompt(messages=turns[:-1]), turns[-1].content


def further_columns(row: Row, used: tuple[str, ...]) -> dict[str, Any]:
    """Further columns. None is what Parquet puts where a row has no value."""
    rest = {name: value for name, value in row.items() if name not in used and value is not None}
    for name, value in rest.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise Unfit(f"'{name}' holds {called(value)}", "write null, or leave it out")
    return rest


EXTRAS = ("weight", "spans", "class")


def example_of(row: Row, used: tuple[str, ...], prompt: Prompt, completion: str, **context: Any) -> Example:
    weight, spans, label = row.get("weight"), row.get("spans"), row.get("class")
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight)):
        raise Unfit(f"'weight' holds {called(weight)}", "it must be a number; rename the column if it means something else")
    if label is not None and (isinstance(label, bool) or not isinstance(label, int)):
        raise Unfit(f"'class' holds {called(label)}", "it must be a whole number; rename the column if it means something else")
    return Example(
        prompt=prompt,
        completion=completion,
        weight=1.0 if weight is None else float(weight),
        spans=spans_in(spans, completion),
        label=label,
        context={**further_columns(row, (*used, *EXTRAS)), **context},
    )


def spans_in(value: Any, completion: str) -> tuple[tuple[int, int, float], ...]:
    if value is None:
        return ()
    try:
        spans = tuple((int(start), int(end), float(weight)) for start, end, weight in value)
    except (TypeError, ValueError) as broken:
        raise Unfit("'spans' is not a list of [start, end, weight]", "rename the column if it means something else") from broken
    if any(not 0 <= start <= end <= len(completion) for start, end, _ in spans):
        raise Unfit("'spans' reaches outside the completion", "positions count characters of the completion")
    return spans


def prompt_out(prompt: Prompt, chat: bool) -> Any:
    return [{"role": m.role, "content": m.content} for m in prompt.messages] if chat else prompt.messages[0].content


def reply_out(text: str, chat: bool) -> Any:
    return [{"role": "assistant", "content": text}] if chat else text


def with_context(record: Example | Pair, row: Row, *, leave: tuple[str, ...] = ()) -> Row:
    """The row with the record's context in columns of its own."""
    context = {name: value for name, value in record.context.items() if name not in leave}
    taken = sorted(set(context) & (set(row) | set(EXTRAS)))
    if taken:
        raise Unfit(f"context '{taken[0]}' would take the place of a column of that name", "rename it")
    return {**row, **context}


def with_weights(record: Example, row: Row) -> Row:
    if record.weight != 1.0:
        row["weight"] = record.weight
    if record.spans:
        row["spans"] = [list(span) for span in record.spans]
    if record.label is not None:
        row["class"] = record.label
    return row


def as_example(record: Content, shape: str, *, labelled: bool = False) -> Example:
    if isinstance(record, Pair):
        raise Unfit(f"a preference has two replies, '{shape}' holds one", "write it as 'preference'")
    if not isinstance(record, Example):
        raise Unfit(f"a question with its answer is not what '{shape}' holds", "write it as 'questions'")
    if labelled and DESIRABLE not in record.context:
        raise Unfit("the record does not say whether the reply is good", f"'{shape}' needs that")
    if not labelled and DESIRABLE in record.context:
        raise Unfit("the record says that its reply is good or bad, which would be forgotten", "write it as 'label'")
    if not record.completion.strip():
        raise Unfit("the reply is empty", "leave the record out")
    return record


def called(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinity"
    if value is None:
        return "nothing"
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


def is_json(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), list | dict)
    except orjson.JSONDecodeError:
        return False


def is_turns(text: str) -> bool:
    """Whether a text is the JSON of a conversation, that is, was encoded once too often."""
    if not text.lstrip().startswith('[{"'):
        return False
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) and "role" in turn for turn in value)
