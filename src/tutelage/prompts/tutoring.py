"""Asking a tutor for labelled texts that a small classifier needs most, after a report of how it does by class and texts that it gets
right, wrong, and gets wrong while it is sure; and reading the reply (PGKD, App. A.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.prompts.dialects import Dialect
from tutelage.prompts.labelling import names_all
from tutelage.records import Prompt

LONGEST = 400
"""Characters of a shown text; texts are cut, the list of labels never is."""
UNNAMED = "The texts carry one label each, out of a closed list; the labels below are some of it."
"""In place of a description, where the list of labels is not to be told."""

_TAGS = re.compile(r"(?i)</?(?:example|report|right|wrong|surely_wrong)\b[^>]*>")
_STRING = r'"(?:[^"\\]|\\.)*+"'
_PART = rf'"(text|label)"\s*+:\s*+({_STRING})'
# Two parts in either order and nothing else. No part gives anything back, so a runaway reply is read in linear time.
_ITEM = re.compile(rf"\{{\s*+{_PART}\s*+,\s*+{_PART}\s*+,?\s*+\}}", flags=re.DOTALL)


@dataclass(frozen=True, slots=True)
class LabelledItem:
    text: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A text that the classifier was asked about."""

    text: str
    label: str
    """The right one."""
    said: str
    sure: float
    """The classifier's probability of what it said."""


def can_tutor(dialect: Dialect) -> bool:
    """Whether models of this dialect can be asked so; others are left to go on after worked examples."""
    return bool(dialect.labelled)


def render_tutoring(
    dialect: Dialect,
    *,
    description: str,
    labels: Sequence[str],
    examples: Sequence[tuple[str, str]] = (),
    report: str = "",
    right: Sequence[Judged] = (),
    wrong: Sequence[Judged] = (),
    surely_wrong: Sequence[Judged] = (),
    count: int,
) -> Prompt:
    """The blocks in the paper's order: list of labels, examples as (text, label), report, right, wrong, surely wrong. What is empty is left
    out; without `labels` the list is not told, and `description` should not hold it either."""
    listed = "" if not labels or names_all(description, labels) else f"The labels: {', '.join(labels)}\n"
    blocks = [
        listed,
        _block("Labelled texts:", [f'<example label="{_quoted(label)}">{_shown(text)}</example>' for text, label in examples]),
        _block(
            "How the classifier does on texts that it was not trained on, by label:",
            ["<report>", report.strip(), "</report>"] if report else [],
        ),
        _block("It gets these right:", [_judged("right", x) for x in right]),
        _block("It gets these wrong:", [_judged("wrong", x) for x in wrong]),
        _block("It gets these wrong and is sure of its answer; they show most of what it misunderstands:", [
            _judged("surely_wrong", x) for x in surely_wrong
        ]),
    ]  # fmt: skip
    text = dialect.labelled.format(description=description, blocks="".join(f"{b}\n" for b in blocks if b), count=count)
    return Prompt.user(text, kind=f"tutoring.{count}.{labels[0] if labels else 'none'}")


def parse_tutoring(text: str) -> list[LabelledItem]:
    """All complete items of a reply, in order, whatever stands around them; an empty list where nothing could be read.

    Lists are cut off, wrapped in code fences, or lack a comma: each object counts for itself. One with further fields, without text or
    without label is left out."""
    found = []
    for match in _ITEM.finditer(text):
        parts = {name: _read(value) for name, value in ((match[1], match[2]), (match[3], match[4]))}
        said, label = (parts.get("text") or "").strip(), (parts.get("label") or "").strip()
        if label and any(letter.isalnum() for letter in said):
            found.append(LabelledItem(said, label))
    return found


def example(kind: str = "", serial: int = 0) -> str:
    """As many items as the kind says, of the label that it names; planning answers with it."""
    _, count, label = [*kind.split(".", 2), "2", "none"][:3] if kind.count(".") >= 2 else ("", "2", "none")
    items = [{"text": f"could you see to case {serial}-{i} for me", "label": label} for i in range(int(count))]
    return json.dumps(items)


def _read(literal: str) -> str | None:
    try:
        return json.loads(literal, strict=False)
    except json.JSONDecodeError:  # a backslash before something that JSON does not escape
        return None


def _block(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([heading, *lines, ""]) if lines else ""


def _judged(tag: str, item: Judged) -> str:
    said = "" if tag == "right" else f' said="{_quoted(item.said)}"'
    sure = f' sure="{item.sure:.2f}"' if tag == "surely_wrong" else ""
    return f'<{tag} label="{_quoted(item.label)}"{said}{sure}>{_shown(item.text)}</{tag}>'


def _shown(text: str) -> str:
    """What is shown cannot close its tags and speak to the teacher."""
    bare = _TAGS.sub("", text).strip()
    return bare if len(bare) <= LONGEST else f"{bare[: LONGEST - 1]}…"


def _quoted(label: str) -> str:
    return label.replace('"', "'").replace("<", "(").replace(">", ")")
