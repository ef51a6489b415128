"""Asking for a question in other words, or for another question that it inspires, checked before it is given."""

from __future__ import annotations

import re

from tutelage.prompts.dialects import ENGLISH, Dialect
from tutelage.records import Prompt

_GIVEN = re.compile(r"(?i)</?(?:given|rephrased|draft|check|final)\b[^>]*>")


def render_rephrase(dialect: Dialect, *, task: str, description: str, question: str) -> Prompt:
    """Same meaning and answer, other words (Balancing, strategy Question Rephrase)."""
    text = dialect.rephrase.format(task=task, description=description, question=_bare(question)).lstrip("\n")
    return Prompt.user(text, kind="rewrite.rephrase")


def parse_rephrase(dialect: Dialect, text: str) -> str | None:
    """The first rewritten question; None where there is none."""
    return _first(dialect.rephrased_pattern, text)


def render_another(dialect: Dialect, *, task: str, description: str, question: str) -> Prompt:
    """Another question of the kind: draft, check, final (Balancing, strategy New Question with its self-check)."""
    text = dialect.another.format(task=task, description=description, question=_bare(question)).lstrip("\n")
    return Prompt.user(text, kind="rewrite.another")


def parse_another(dialect: Dialect, text: str) -> str | None:
    """The question that passed the check; None where there is none, or where the writer gave it up."""
    found = _first(dialect.another_pattern, text)
    return None if found is None or found.rstrip(".").casefold() == "none" else found


def example(kind: str = "", serial: int = 0, dialect: Dialect = ENGLISH) -> str:
    """A reply that either form can be read from; planning answers with it. Several numbers differ by call, else the questions would be
    dropped as repeats of one another."""
    red, blue, more = 3 + serial, 4 + 2 * serial, 2 + 3 * serial
    question = f"Jar {serial} holds {red} red and {blue} blue beads and {more} more are added. How many beads does it hold now?"
    if dialect.name != "english":
        return dialect.item.format(id=1, question=question, answer="")
    if kind == "rewrite.another":
        check = f"All numbers are given, one answer: {red + blue + more}."
        return f"<draft>{question}</draft>\n<check>{check}</check>\n<final>\n{question}\n</final>"
    return f"<rephrased>\n{question}\n</rephrased>"


def _first(pattern: str, text: str) -> str | None:
    for match in re.finditer(pattern, text.replace("\r\n", "\n").replace("\r", "\n"), flags=re.DOTALL | re.MULTILINE):
        question = match["question"].strip()
        if any(letter.isalnum() for letter in question):
            return question
    return None


def _bare(text: str) -> str:
    """A question cannot close the tags that it stands in."""
    return _GIVEN.sub("", text)
