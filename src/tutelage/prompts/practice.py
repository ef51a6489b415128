"""Asking a tutor for practice problems with their solutions: like one that was missed, or after several; and reading the reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.prompts.dialects import ENGLISH, Dialect
from tutelage.records import Message, Prompt


@dataclass(frozen=True, slots=True)
class WorkedItem:
    question: str
    solution: str


def render_lookalikes(
    dialect: Dialect,
    *,
    description: str,
    answer_format: str,
    question: str,
    solution: str,
    count: int,
    kept: Sequence[WorkedItem] = (),
) -> Prompt:
    """Show one missed problem with its right solution and ask for `count` like it (LLM2LLM, Sec. 3 and App.).

    With `kept`, the items already accepted stand as the tutor's own earlier reply and more are asked for.
    """
    item = write_items(dialect, [WorkedItem(question, solution)])
    turns = [Message(role="user", content=dialect.lookalikes.format(item=item, count=count + len(kept)))]
    if kept and dialect.more_lookalikes:
        turns.append(Message(role="assistant", content=write_items(dialect, kept)))
        turns.append(Message(role="user", content=dialect.more_lookalikes.format(count=count)))
    return Prompt(messages=(*_system(dialect, description, answer_format), *turns), kind="practice.lookalikes")


def render_practice(
    dialect: Dialect,
    *,
    description: str,
    answer_format: str,
    shown: Sequence[WorkedItem],
    missed: Sequence[str] = (),
    focus: str = "",
    count: int,
) -> Prompt:
    """Show solved problems, questions that the student missed (without any solution) and what to work on; ask for `count` new ones
    (DataEnvGym, open-ended and skill-list agents)."""
    listed = "\n".join(f"<missed>\n{_bare(text)}\n</missed>" for text in missed)
    text = dialect.practice.format(
        items=write_items(dialect, shown),
        missed=f"The learner got these wrong. Do not repeat them, and quote nothing from them:\n\n{listed}\n\n" if missed else "",
        focus=f"Work on this: {focus.strip()}\n\n" if focus.strip() else "",
        count=count,
    )
    return Prompt(messages=(*_system(dialect, description, answer_format), Message(role="user", content=text)), kind="practice.practice")


def write_items(dialect: Dialect, items: Sequence[WorkedItem]) -> str:
    """Worked items in the form that prompts show and replies have."""
    return "\n\n".join(dialect.worked_item.format(question=i.question.strip(), solution=i.solution.strip()) for i in items)


def parse_items(dialect: Dialect, text: str) -> list[WorkedItem]:
    """All complete items of a reply, in order; an empty list where nothing could be read.

    An item that was cut off, that lacks its solution or whose question is a heading of marks only ("...", "**") is left out.
    """
    found = []
    for match in re.finditer(dialect.worked_pattern, text.replace("\r\n", "\n").replace("\r", "\n"), flags=re.DOTALL | re.MULTILINE):
        question, solution = match["question"].strip(), match["solution"].strip()
        if any(letter.isalnum() for letter in question) and any(letter.isalnum() for letter in solution):
            found.append(WorkedItem(question, solution))
    return found


def example(serial: int = 0, dialect: Dialect = ENGLISH) -> str:
    """A reply with three items; planning answers with it."""
    items = [
        WorkedItem(
            question=f"Crate {serial}-{i} holds {i} rows of 4 jars and 2 more. How many jars?",
            solution=f"{i} rows of 4 are {4 * i}, and 2 more make {4 * i + 2}. <ans>{4 * i + 2}</ans>",
        )
        for i in range(4, 7)
    ]
    return write_items(dialect, items)


def _system(dialect: Dialect, description: str, answer_format: str) -> tuple[Message, ...]:
    if not dialect.tutor:
        return ()
    return (Message(role="system", content=dialect.tutor.format(description=description, answer_format=answer_format).strip()),)


def _bare(text: str) -> str:
    return re.sub(r"(?i)</?missed\b[^>]*>", "", text)
