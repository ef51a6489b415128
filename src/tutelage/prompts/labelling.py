"""Asking for the label of a text out of a closed list. The label is scored behind the prompt, or written and read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tutelage.prompts.dialects import Dialect
from tutelage.records import Prompt

_TAGS = re.compile(r"(?i)</?text\b[^>]*>")
_MARKS = " \t\n\r\"'`*.:;,()[]<>"


def can_label(dialect: Dialect) -> bool:
    """Whether models of this dialect can be asked for a label at all."""
    return bool(dialect.label)


def render_label(
    dialect: Dialect, *, description: str, labels: Sequence[str], question: str, demonstrations: Sequence[tuple[str, str]] = ()
) -> Prompt:
    """Ask for the label of one text after labelled ones, given as (text, label) (LLKD Sec. 3.1).

    What does not depend on the text stands first, so that prompts share a prefix. A list of labels that the description holds already is
    not written twice.
    """
    listed = "" if names_all(description, labels) else f"Labels: {', '.join(labels)}\n\n"
    shown = "".join(dialect.label_demonstration.format(question=_bare(text), label=label) for text, label in demonstrations)
    text = dialect.label.format(description=description, labels=listed, demonstrations=shown, question=_bare(question))
    return Prompt.user(text.lstrip("\n"), kind=f"labelling.{labels[0]}")


def parse_label(text: str, labels: Sequence[str]) -> str | None:
    """The label of the first line that holds anything, whatever its case and the marks around it; None for anything else.

    A sentence around the label, or a second label, is not guessed at: the reply was to be one label.
    """
    lines = [line.strip(_MARKS) for line in text.splitlines()]
    first = next((line for line in lines if line), "")
    said = _plain(first.partition(":")[2] if first.casefold().startswith("label:") else first)
    return {_plain(label): label for label in reversed(labels)}.get(said)


def names_all(description: str, labels: Sequence[str]) -> bool:
    """Whether every label stands in the description as a word of its own."""
    return bool(labels) and set(labels) <= set(re.findall(r"[^\s,;]+", description.replace(". ", " ").rstrip(".")))


def example(kind: str = "", serial: int = 0) -> str:
    """The label that the kind names; planning answers with it."""
    del serial  # there is one right form of a label
    return kind.partition(".")[2] or "none"


def _plain(text: str) -> str:
    return " ".join(text.strip(_MARKS).casefold().replace("_", " ").split())


def _bare(text: str) -> str:
    return _TAGS.sub("", text)
