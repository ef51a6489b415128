"""Asking for new questions of a task, and reading the reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.prompts.dialects import ENGLISH, Dialect
from tutelage.records import Problem, Prompt


@dataclass(frozen=True, slots=True)
class DraftedItem:
    """One question of a reply."""

    question: str
    answer: str | None
    """The teacher's own claim; None where the dialect has no answer in its items."""


def render_questions(dialect: Dialect, *, task: str, description: str, seeds: Sequence[Problem], count: int, first_id: int) -> Prompt:
    """Show `seeds`, numbered from `first_id`, and ask for `count` more (ARTE Sec. 3.1, App. H)."""
    items = "\n".join(
        dialect.item.format(id=first_id + i, question=p.text, answer=p.answer if p.answer is not None else "") for i, p in enumerate(seeds)
    )
    text = dialect.questions.format(task=task, description=description, items=items, count=count, next_id=first_id + len(seeds))
    return Prompt.user(text, kind="questions")


def parse_questions(dialect: Dialect, text: str) -> list[DraftedItem]:
    """All well-formed items of a reply, in order; an empty list where nothing could be read (that is data, not an error).

    Models repeat the tags of the request, cut an item off, or wrap items in code fences: only complete items count. They also take
    the tags for XML and write `&lt;`; the five entities of XML are read back. An answer that holds further tags is no plain answer,
    and its item is left out.
    """
    found = []
    for match in re.finditer(dialect.item_pattern, text.replace("\r\n", "\n").replace("\r", "\n"), flags=re.DOTALL | re.MULTILINE):
        groups = match.groupdict()
        question, answer = groups["question"].strip(), groups.get("answer")
        if answer is not None:
            answer = answer.strip()
            if not answer or _TAG.search(answer):
                continue
            question, answer = _unescape(question), _unescape(answer)
        if question:
            found.append(DraftedItem(question, answer))
    return found


_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def _unescape(text: str) -> str:
    from xml.sax.saxutils import unescape  # brings in a web client; listing recipes must not pay for it

    return unescape(text, {"&quot;": '"', "&apos;": "'", "&#39;": "'"})


def example(dialect: Dialect = ENGLISH) -> str:
    """A reply with five items; planning answers with it."""
    return "\n".join(
        dialect.item.format(id=i, question=f"A shelf holds {i} rows of 4 cups and 2 more. How many cups?", answer=4 * i + 2)
        for i in range(4, 9)
    )
