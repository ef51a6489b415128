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

from tutelage.formats.cells import (
    ALPACA_INPUT,
    DESIRABLE,
    Content,
    Row,
    Unfit,
    as_example,
    called,
    conversation_of,
    example_of,
    further_columns,
    prompt_in,
    prompt_out,
    reply_in,
    reply_out,
    text_in,
    turns_in,
    with_context,
    with_weights,
)
from tutelage.records import Example, Message, Pair, Problem, Prompt


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


def _read_prompt_completion(row: Row) -> Example:
    return example_of(row, ("prompt", "completion"), prompt_in(row), reply_in(row.get("completion"), "completion"))


def _write_prompt_completion(record: Content, chat: bool) -> Row:
    example = as_example(record, "prompt-completion")
    row = {"prompt": prompt_out(example.prompt, chat), "completion": reply_out(example.completion, chat)}
    return with_weights(example, with_context(example, row))


def _read_label(row: Row) -> Example:
    label = row.get("label")
    if not isinstance(label, bool):
        raise Unfit(f"'label' holds {called(label)}", "it must be true (good reply) or false (bad reply)")
    used = ("prompt", "completion", "label")
    return example_of(row, used, prompt_in(row), reply_in(row.get("completion"), "completion"), **{DESIRABLE: label})


def _write_label(record: Content, chat: bool) -> Row:
    example = as_example(record, "label", labelled=True)
    row = {
        "prompt": prompt_out(example.prompt, chat),
        "completion": reply_out(example.completion, chat),
        "label": example.context[DESIRABLE],
    }
    return with_weights(example, with_context(example, row, leave=(DESIRABLE,)))


def _read_messages(row: Row) -> Example:
    return example_of(row, ("messages",), *conversation_of(turns_in(row.get("messages"), "messages"), "messages"))


def _write_messages(record: Content, chat: bool) -> Row:
    example = as_example(record, "messages")
    return with_weights(
        example, with_context(example, {"messages": [*prompt_out(example.prompt, True), *reply_out(example.completion, True)]})
    )


def _read_preference(row: Row) -> Pair:
    margin, kind = row.get("margin"), row.get("kind")
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, int | float) or not math.isfinite(margin)):
        raise Unfit(f"'margin' holds {called(margin)}", "it must be a number")
    if kind is not None and not isinstance(kind, str):
        raise Unfit(f"'kind' holds {called(kind)}", "it must be text; rename the column if it means something else")
    if row.get("prompt") is None:
        prompt, chosen, rejected = _without_prompt(row)
    else:
        prompt, chosen, rejected = prompt_in(row), reply_in(row.get("chosen"), "chosen"), reply_in(row.get("rejected"), "rejected")
    if chosen == rejected:
        raise Unfit("'chosen' and 'rejected' are the same", "such a row prefers nothing; leave it out")
    return Pair(
        prompt=prompt, chosen=chosen, rejected=rejected, kind=kind or "", margin=None if margin is None else float(margin),
        context=further_columns(row, ("prompt", "chosen", "rejected", "margin", "kind")),
    )  # fmt: skip


def _without_prompt(row: Row) -> tuple[Prompt, str, str]:
    """Both replies as whole conversations; the prompt is what they share."""
    sides = []
    for column in ("chosen", "rejected"):
        if isinstance(row.get(column), str):
            raise Unfit("there is no 'prompt', and the replies are texts", "add a column 'prompt'")
        sides.append(conversation_of(turns_in(row.get(column), column), column))
    (prompt, chosen), (other, rejected) = sides
    if prompt != other:
        raise Unfit("'chosen' and 'rejected' differ before their last turn", "give the shared turns as 'prompt'")
    return prompt, chosen, rejected


def _write_preference(record: Content, chat: bool) -> Row:
    if not isinstance(record, Pair):
        raise Unfit("the record has one text, a preference needs two", "only preference data can be written as 'preference'")
    row: Row = {
        "prompt": prompt_out(record.prompt, chat),
        "chosen": reply_out(record.chosen, chat),
        "rejected": reply_out(record.rejected, chat),
    }
    if record.margin is not None:
        row["margin"] = record.margin
    if record.kind:
        row["kind"] = record.kind
    if {"margin", "kind"} & set(record.context):
        raise Unfit("context 'margin' or 'kind' would take the place of a column of that name", "rename it")
    return with_context(record, row)


def _read_alpaca(row: Row) -> Example:
    instruction, given = text_in(row, "instruction"), row.get("input") or ""
    if not isinstance(given, str):
        raise Unfit(f"'input' holds {called(given)}", "it must be text, or empty")
    system = row.get("system") or ""
    if not isinstance(system, str):
        raise Unfit(f"'system' holds {called(system)}", "it must be text, or empty")
    turns = [Message(role="system", content=system)] if system else []
    for pair in row.get("history") or ():
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
            raise Unfit("'history' is not a list of [question, reply]", "write both as text")
        turns += [Message(role="user", content=pair[0]), Message(role="assistant", content=pair[1])]
    turns.append(Message(role="user", content=f"{instruction}\n\n{given}" if given else instruction))
    context = {ALPACA_INPUT: given} if given else {}
    used = ("instruction", "input", "output", "system", "history")
    return example_of(row, used, Prompt(messages=tuple(turns)), text_in(row, "output"), **context)


def _write_alpaca(record: Content, chat: bool) -> Row:
    example = as_example(record, "alpaca")
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
    return with_weights(example, with_context(example, row, leave=(ALPACA_INPUT,)))


_FROM = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "system": "system",
    "tool": "tool", "observation": "tool",
}  # fmt: skip
_TO = {"user": "human", "assistant": "gpt", "system": "system", "tool": "tool"}


def _read_sharegpt(row: Row) -> Example:
    turns = turns_in(row.get("conversations"), "conversations", role="from", content="value", names=_FROM)
    system = row.get("system")
    if system is not None and not isinstance(system, str):
        raise Unfit(f"'system' holds {called(system)}", "it must be text, or empty")
    if system:
        turns = (Message(role="system", content=system), *turns)
    return example_of(row, ("conversations", "system"), *conversation_of(turns, "conversations"))


def _write_sharegpt(record: Content, chat: bool) -> Row:
    example = as_example(record, "sharegpt")
    turns = [*example.prompt.messages, Message(role="assistant", content=example.completion)]
    return with_weights(example, with_context(example, {"conversations": [{"from": _TO[m.role], "value": m.content} for m in turns]}))


def _read_questions(row: Row) -> Problem:
    choices = row.get("choices") or ()
    if not isinstance(choices, list | tuple) or not all(isinstance(option, str) for option in choices):
        raise Unfit("'choices' is not a list of texts", "write the options as a list")
    answer = row.get("answer")
    if isinstance(answer, int | float) and math.isfinite(answer):
        answer = str(answer)
    if not isinstance(answer, str) or not answer.strip():
        raise Unfit(
            f"'answer' holds {called(answer)}" if not isinstance(answer, str) else "'answer' is empty",
            "write the answer as text or number",
        )
    skill = row.get("skill") or ""
    if not isinstance(skill, str):
        raise Unfit(f"'skill' holds {called(skill)}", "it must be text")
    context = further_columns(row, ("question", "answer", "skill", "choices"))
    return Problem(text=text_in(row, "question"), answer=answer, skill=skill, choices=tuple(choices), context=context)


def _write_questions(record: Content, chat: bool) -> Row:
    if not isinstance(record, Problem) or record.answer is None:
        raise Unfit("'questions' holds questions with their answers", "write training data as 'prompt-completion' or 'messages'")
    row: Row = {"question": record.text, "answer": record.answer}
    row |= ({"skill": record.skill} if record.skill else {}) | ({"choices": list(record.choices)} if record.choices else {})
    taken = sorted(set(record.context) & {"question", "answer", "skill", "choices"})
    if taken:
        raise Unfit(f"context '{taken[0]}' would take the place of a column of that name", "rename it")
    return {**row, **record.context}


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
