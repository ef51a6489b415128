"""The row shapes that trainers read, each as a pair of functions: from a row to a record, and back.

What a shape cannot hold it refuses (`Unfit`), so nothing is lost in silence. A prompt given as plain text and a conversation of one user
turn are the same prompt here, as everywhere in this package. Columns that a shape does not know are kept in the record's `context` and
written back under their names. A record's origin is not part of its content and is not written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One way of writing records as rows."""

    name: str
    required: tuple[str, ...]
    """The columns by which it is recognised."""
    read: Callable[[Row], Content]
    write: Callable[[Content, bool], Row]
    """(record, whether prompts are written as conversations) -> row."""
    holds: str
    """In words, for messages."""


def recognise(columns: Mapping[str, Any] | tuple[str, ...]) -> Shape | None:
    """The first shape whose columns are all there."""
    return next((shape for shape in SHAPES.values() if set(shape.required) <= set(columns)), None)


def is_plain(prompt: Prompt) -> bool:
    """Whether the prompt is one user turn, which can be written as text."""
    return len(prompt.messages) == 1 and prompt.messages[0].role == "user"


# Reading parts of rows.


def _text(row: Row, column: str, *, empty: bool = False) -> str:
    value = row.get(column)
    if isinstance(value, str):
        if value.strip() or empty:
            return value
        raise Unfit(f"'{column}' is empty", "write its text, or leave the row out")
    raise Unfit(f"'{column}' holds {_called(value)}", "it must be text")


def _turns(
    value: Any, column: str, *, role: str = "role", content: str = "content", names: Mapping[str, str] | None = None
) -> tuple[Message, ...]:
    if isinstance(value, str):
        raise Unfit(
            f"'{column}' is a text{' that holds JSON' if _is_json(value) else ''}, not a list of turns",
            "write the list itself, not its text",
        )
    if not isinstance(value, list | tuple):
        raise Unfit(f"'{column}' holds {_called(value)}", f'write a list like [{{"{role}": ..., "{content}": ...}}]')
    turns = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict):
            raise Unfit(f"turn {number} of '{column}' is {_called(turn)}", f"every turn is an object with '{role}' and '{content}'")
        beside = sorted(key for key, kept in turn.items() if key not in (role, content) and kept not in (None, [], {}))
        if beside:
            raise Unfit(
                f"turn {number} of '{column}' has '{beside[0]}', which has no place here", "remove it, or write it into the content"
            )
        who, said = turn.get(role), turn.get(content)
        who = (names or {}).get(who, who) if isinstance(who, str) else who
        if who not in ROLES:
            known = ", ".join(names) if names else ", ".join(ROLES)
            raise Unfit(
                f"turn {number} of '{column}' is by {_called(who) if not isinstance(who, str) else repr(who)}", f"roles are {known}"
            )
        if not isinstance(said, str):
            raise Unfit(f"turn {number} of '{column}' says {_called(said)}", f"'{content}' must be text")
        turns.append(Message(role=who, content=said))
    if not turns:
        raise Unfit(f"'{column}' has no turns", "a conversation needs a question and a reply")
    return tuple(turns)


def _prompt(row: Row, column: str = "prompt") -> Prompt:
    value = row.get(column)
    if isinstance(value, str) and not _is_turns(value):
        return Prompt.user(_text(row, column))
    return Prompt(messages=_turns(value, column))


def _reply(value: Any, column: str) -> str:
    """Text, or a list of one assistant turn."""
    if isinstance(value, str) and not _is_turns(value):
        if not value.strip():
            raise Unfit(f"'{column}' is empty", "write the reply, or leave the row out")
        return value
    turns = _turns(value, column)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise Unfit(f"'{column}' must be one assistant turn", "put the turns before it into the prompt")
    return turns[0].content


def _conversation(turns: tuple[Message, ...], column: str) -> tuple[Prompt, str]:
    if turns[-1].role != "assistant":
        raise Unfit(f"'{column}' ends with a turn of the {turns[-1].role}", "the last turn must be the reply to be learned")
    if len(turns) == 1:
        raise Unfit(f"'{column}' has a reply but no question", "put the question before it")
    if not turns[-1].content.strip():
        raise Unfit(f"the reply in '{column}' is empty", "write it, or leave the row out")
    return Prompt(messages=turns[:-1]), turns[-1].content


def _rest(row: Row, used: tuple[str, ...]) -> dict[str, Any]:
    """Further columns. None is what Parquet puts where a row has no value."""
    rest = {name: value for name, value in row.items() if name not in used and value is not None}
    for name, value in rest.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise Unfit(f"'{name}' holds {_called(value)}", "write null, or leave it out")
    return rest


_EXTRAS = ("weight", "spans", "class")


def _example(row: Row, used: tuple[str, ...], prompt: Prompt, completion: str, **context: Any) -> Example:
    weight, spans, label = row.get("weight"), row.get("spans"), row.get("class")
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight)):
        raise Unfit(f"'weight' holds {_called(weight)}", "it must be a number; rename the column if it means something else")
    if label is not None and (isinstance(label, bool) or not isinstance(label, int)):
        raise Unfit(f"'class' holds {_called(label)}", "it must be a whole number; rename the column if it means something else")
    return Example(
        prompt=prompt,
        completion=completion,
        weight=1.0 if weight is None else float(weight),
        spans=_spans(spans, completion),
        label=label,
        context={**_rest(row, (*used, *_EXTRAS)), **context},
    )


def _spans(value: Any, completion: str) -> tuple[tuple[int, int, float], ...]:
    if value is None:
        return ()
    try:
        spans = tuple((int(start), int(end), float(weight)) for start, end, weight in value)
    except (TypeError, ValueError) as broken:
        raise Unfit("'spans' is not a list of [start, end, weight]", "rename the column if it means something else") from broken
    if any(not 0 <= start <= end <= len(completion) for start, end, _ in spans):
        raise Unfit("'spans' reaches outside the completion", "positions count characters of the completion")
    return spans


# Writing parts of rows.


def _written(prompt: Prompt, chat: bool) -> Any:
    return [{"role": m.role, "content": m.content} for m in prompt.messages] if chat else prompt.messages[0].content


def _said(text: str, chat: bool) -> Any:
    return [{"role": "assistant", "content": text}] if chat else text


def _beside(record: Example | Pair, row: Row, *, leave: tuple[str, ...] = ()) -> Row:
    """The row with the record's context in columns of its own."""
    context = {name: value for name, value in record.context.items() if name not in leave}
    taken = sorted(set(context) & (set(row) | set(_EXTRAS)))
    if taken:
        raise Unfit(f"context '{taken[0]}' would take the place of a column of that name", "rename it")
    return {**row, **context}


def _weights(record: Example, row: Row) -> Row:
    if record.weight != 1.0:
        row["weight"] = record.weight
    if record.spans:
        row["spans"] = [list(span) for span in record.spans]
    if record.label is not None:
        row["class"] = record.label
    return row


def _as_example(record: Content, shape: str, *, labelled: bool = False) -> Example:
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


# The shapes.


def _read_prompt_completion(row: Row) -> Example:
    return _example(row, ("prompt", "completion"), _prompt(row), _reply(row.get("completion"), "completion"))


def _write_prompt_completion(record: Content, chat: bool) -> Row:
    example = _as_example(record, "prompt-completion")
    row = {"prompt": _written(example.prompt, chat), "completion": _said(example.completion, chat)}
    return _weights(example, _beside(example, row))


def _read_label(row: Row) -> Example:
    label = row.get("label")
    if not isinstance(label, bool):
        raise Unfit(f"'label' holds {_called(label)}", "it must be true (good reply) or false (bad reply)")
    used = ("prompt", "completion", "label")
    return _example(row, used, _prompt(row), _reply(row.get("completion"), "completion"), **{DESIRABLE: label})


def _write_label(record: Content, chat: bool) -> Row:
    example = _as_example(record, "label", labelled=True)
    row = {"prompt": _written(example.prompt, chat), "completion": _said(example.completion, chat), "label": example.context[DESIRABLE]}
    return _weights(example, _beside(example, row, leave=(DESIRABLE,)))


def _read_messages(row: Row) -> Example:
    return _example(row, ("messages",), *_conversation(_turns(row.get("messages"), "messages"), "messages"))


def _write_messages(record: Content, chat: bool) -> Row:
    example = _as_example(record, "messages")
    return _weights(example, _beside(example, {"messages": [*_written(example.prompt, True), *_said(example.completion, True)]}))


def _read_preference(row: Row) -> Pair:
    margin, kind = row.get("margin"), row.get("kind")
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, int | float) or not math.isfinite(margin)):
        raise Unfit(f"'margin' holds {_called(margin)}", "it must be a number")
    if kind is not None and not isinstance(kind, str):
        raise Unfit(f"'kind' holds {_called(kind)}", "it must be text; rename the column if it means something else")
    if row.get("prompt") is None:
        prompt, chosen, rejected = _without_prompt(row)
    else:
        prompt, chosen, rejected = _prompt(row), _reply(row.get("chosen"), "chosen"), _reply(row.get("rejected"), "rejected")
    if chosen == rejected:
        raise Unfit("'chosen' and 'rejected' are the same", "such a row prefers nothing; leave it out")
    return Pair(
        prompt=prompt, chosen=chosen, rejected=rejected, kind=kind or "", margin=None if margin is None else float(margin),
        context=_rest(row, ("prompt", "chosen", "rejected", "margin", "kind")),
    )  # fmt: skip


def _without_prompt(row: Row) -> tuple[Prompt, str, str]:
    """Both replies as whole conversations; the prompt is what they share."""
    sides = []
    for column in ("chosen", "rejected"):
        if isinstance(row.get(column), str):
            raise Unfit("there is no 'prompt', and the replies are texts", "add a column 'prompt'")
        sides.append(_conversation(_turns(row.get(column), column), column))
    (prompt, chosen), (other, rejected) = sides
    if prompt != other:
        raise Unfit("'chosen' and 'rejected' differ before their last turn", "give the shared turns as 'prompt'")
    return prompt, chosen, rejected


def _write_preference(record: Content, chat: bool) -> Row:
    if not isinstance(record, Pair):
        raise Unfit("the record has one text, a preference needs two", "only preference data can be written as 'preference'")
    row: Row = {"prompt": _written(record.prompt, chat), "chosen": _said(record.chosen, chat), "rejected": _said(record.rejected, chat)}
    if record.margin is not None:
        row["margin"] = record.margin
    if record.kind:
        row["kind"] = record.kind
    if {"margin", "kind"} & set(record.context):
        raise Unfit("context 'margin' or 'kind' would take the place of a column of that name", "rename it")
    return _beside(record, row)


def _read_alpaca(row: Row) -> Example:
    instruction, given = _text(row, "instruction"), row.get("input") or ""
    if not isinstance(given, str):
        raise Unfit(f"'input' holds {_called(given)}", "it must be text, or empty")
    system = row.get("system") or ""
    if not isinstance(system, str):
        raise Unfit(f"'system' holds {_called(system)}", "it must be text, or empty")
    turns = [Message(role="system", content=system)] if system else []
    for pair in row.get("history") or ():
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
            raise Unfit("'history' is not a list of [question, reply]", "write both as text")
        turns += [Message(role="user", content=pair[0]), Message(role="assistant", content=pair[1])]
    turns.append(Message(role="user", content=f"{instruction}\n\n{given}" if given else instruction))
    context = {ALPACA_INPUT: given} if given else {}
    used = ("instruction", "input", "output", "system", "history")
    return _example(row, used, Prompt(messages=tuple(turns)), _text(row, "output"), **context)


def _write_alpaca(record: Content, chat: bool) -> Row:
    example = _as_example(record, "alpaca")
    turns = list(example.prompt.messages)
    row: Row = {"instruction": "", "input": "", "output": example.completion}
    if turns[0].role == "system" and turns[0].content:
        row["system"] = turns.pop(0).content
    if len(turns) % 2 == 0 or [t.role for t in turns] != (["user", "assistant"] * len(turns))[: len(turns)]:
        raise Unfit("the turns do not alternate between user and assistant", "'alpaca' holds nothing else; use 'messages'")
    if len(turns) > 1:
        row["history"] = [[turns[i].content, turns[i + 1].content] for i in range(0, len(turns) - 1, 2)]
    asked, given = turns[-1].content, str(example.context.get(ALPACA_INPUT, ""))
    if given and asked.endswith(f"\n\n{given}"):
        asked, row["input"] = asked.removesuffix(f"\n\n{given}"), given
    elif given:
        raise Unfit(f"context '{ALPACA_INPUT}' is not the end of the prompt", "remove it")
    if not asked.strip():
        raise Unfit("the prompt is empty", "leave the record out")
    row["instruction"] = asked
    return _weights(example, _beside(example, row, leave=(ALPACA_INPUT,)))


_FROM = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "system": "system",
    "tool": "tool", "observation": "tool",
}  # fmt: skip
_TO = {"user": "human", "assistant": "gpt", "system": "system", "tool": "tool"}


def _read_sharegpt(row: Row) -> Example:
    turns = _turns(row.get("conversations"), "conversations", role="from", content="value", names=_FROM)
    system = row.get("system")
    if system is not None and not isinstance(system, str):
        raise Unfit(f"'system' holds {_called(system)}", "it must be text, or empty")
    if system:
        turns = (Message(role="system", content=system), *turns)
    return _example(row, ("conversations", "system"), *_conversation(turns, "conversations"))


def _write_sharegpt(record: Content, chat: bool) -> Row:
    example = _as_example(record, "sharegpt")
    turns = [*example.prompt.messages, Message(role="assistant", content=example.completion)]
    return _weights(example, _beside(example, {"conversations": [{"from": _TO[m.role], "value": m.content} for m in turns]}))


def _read_questions(row: Row) -> Problem:
    choices = row.get("choices") or ()
    if not isinstance(choices, list | tuple) or not all(isinstance(option, str) for option in choices):
        raise Unfit("'choices' is not a list of texts", "write the options as a list")
    answer = row.get("answer")
    if isinstance(answer, int | float) and math.isfinite(answer):
        answer = str(answer)
    if not isinstance(answer, str) or not answer.strip():
        raise Unfit(
            f"'answer' holds {_called(answer)}" if not isinstance(answer, str) else "'answer' is empty",
            "write the answer as text or number",
        )
    skill = row.get("skill") or ""
    if not isinstance(skill, str):
        raise Unfit(f"'skill' holds {_called(skill)}", "it must be text")
    context = _rest(row, ("question", "answer", "skill", "choices"))
    return Problem(text=_text(row, "question"), answer=answer, skill=skill, choices=tuple(choices), context=context)


def _write_questions(record: Content, chat: bool) -> Row:
    if not isinstance(record, Problem) or record.answer is None:
        raise Unfit("'questions' holds questions with their answers", "write training data as 'prompt-completion' or 'messages'")
    row: Row = {"question": record.text, "answer": record.answer}
    row |= ({"skill": record.skill} if record.skill else {}) | ({"choices": list(record.choices)} if record.choices else {})
    taken = sorted(set(record.context) & {"question", "answer", "skill", "choices"})
    if taken:
        raise Unfit(f"context '{taken[0]}' would take the place of a column of that name", "rename it")
    return {**row, **record.context}


def _called(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinity"
    if value is None:
        return "nothing"
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


def _is_json(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), list | dict)
    except orjson.JSONDecodeError:
        return False


def _is_turns(text: str) -> bool:
    """Whether a text is the JSON of a conversation, that is, was encoded once too often."""
    if not text.lstrip().startswith('[{"'):
        return False
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) and "role" in turn for turn in value)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(name="preference", required=("chosen", "rejected"), read=_read_preference, write=_write_preference, holds="two replies"),
        Shape(name="messages", required=("messages",), read=_read_messages, write=_write_messages, holds="conversations"),
        Shape(name="sharegpt", required=("conversations",), read=_read_sharegpt, write=_write_sharegpt, holds="conversations"),
        Shape(name="alpaca", required=("instruction", "output"), read=_read_alpaca, write=_write_alpaca, holds="instructions with a reply"),
        Shape(
            name="label",
            required=("prompt", "completion", "label"),
            read=_read_label,
            write=_write_label,
            holds="replies marked good or bad",
        ),
        Shape(
            name="prompt-completion",
            required=("prompt", "completion"),
            read=_read_prompt_completion,
            write=_write_prompt_completion,
            holds="prompts with a reply",
        ),
        Shape(
            name="questions",
            required=("question", "answer"),
            read=_read_questions,
            write=_write_questions,
            holds="questions with an answer",
        ),
    )
}
"""In the order in which a file's columns are tried."""
