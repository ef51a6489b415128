"""The final answer inside a model's text, found by ordered rules; where none applies the text is unparsed, never guessed.

Order of the rules, strongest first; within a rule the last occurrence counts, because models correct themselves:

1. `tag`     `<ans>...</ans>` or `<answer>...</answer>`; an opened tag without its end counts too (a stop text may have eaten it)
2. `boxed`   `\\boxed{...}`, braces balanced
3. `hashes`  a line `#### ...` with at most two lines of text after it (further up it is a Markdown heading)
4. `label`   a line that begins `Answer:`, `Final answer:` or `A:` (the last only where no line begins `B:`, which would be options)
5. `phrase`  `the answer is ...`, up to the end of the sentence; `the answer is not ...` does not count
6. `arrow`   `=> ...` on the last line
7. `bare`    the whole text, where it is one line of at most 200 characters

There is no "last number in the text": a derivation that broke off has not answered. What stands before `</think>` is not read, and
a text that never left `<think>` is unparsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

BARE_LIMIT = 200
READ_LIMIT = 200_000
"""Only the last so many characters are searched: an answer stands at the end, and a runaway generation must not cost seconds."""
TIDY_LIMIT = 4000
"""Longer values are left as they are: peeling marks off a runaway one by one would take forever."""

_CLOSED = re.compile(r"<(ans|answer)>((?:(?!<(?:ans|answer)>).)*?)</\1>", re.IGNORECASE | re.DOTALL)
_OPEN = re.compile(r"<(?:ans|answer)>[ \t]*\n?([^\n<]*)", re.IGNORECASE)
_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S[^\n]*)", re.MULTILINE)
_LABEL = re.compile(
    r"^[ \t>*_#-]*(?:(?:the[ \t]+)?(?:final|correct|my)[ \t]+)?(?:answer|ans)[ \t*_]*[:=][ \t*_]*(?:\n[ \t]*)?(\S[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_A_LABEL = re.compile(r"^[ \t*_]*A[ \t*_]*:[ \t*_]*(\S[^\n]*)", re.MULTILINE)
_B_LABEL = re.compile(r"^[ \t*_]*B[ \t*_]*:", re.MULTILINE)
_PHRASE = re.compile(
    r"\b(?:final[ \t]+|correct[ \t]+|right[ \t]+|best[ \t]+)*answer[ \t]*(?:choice[ \t]*|option[ \t]*)?"
    r"(?:is|was|should be|must be|would be|will be)[ \t]*[:=]?\s*((?!not\b)\S[^\n]*?)(?=[.!?;](?:\s|$|\*|\"|')|\n|$)",
    re.IGNORECASE,
)
_ARROWS = ("=>", "⇒", "->", "→")
_WRAPPED = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\{([^{}]*)\}")
_QUOTES = "\"'`“”‘’«»"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """An answer and the rule that found it."""

    value: str
    rule: str


def final_answer(text: str) -> Extracted | None:
    """The answer that `text` gives, tidied; None where it gives none."""
    said = _after_thinking(text[-READ_LIMIT:])
    if said is None:
        return None
    for rule, find in _RULES:
        value = find(said)
        if value is not None:
            value = tidy(value)
            return Extracted(value=value, rule=rule) if value else None
    return None


def tidy(value: str) -> str:
    """Without outer white space, Markdown emphasis, maths dollars, quotes and a full stop at the end."""
    before = None
    value = value.strip()
    if len(value) > TIDY_LIMIT or (value[:1].isalnum() and value[-1:].isalnum()):
        return value
    while value != before:
        before = value
        value = value.strip()
        for left, right in (("**", "**"), ("__", "__"), ("*", "*"), ("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]")):
            if len(value) > len(left) + len(right) and value.startswith(left) and value.endswith(right):
                value = value[len(left) : -len(right)].strip()
        if len(value) > 2 and value[0] == "$" and value[-1] == "$":
            value = value[1:-1].strip()
        if len(value) > 1 and value[0] in _QUOTES and value[-1] in _QUOTES:
            value = value[1:-1].strip()
        wrapped = _WRAPPED.fullmatch(value)
        if wrapped:
            value = wrapped[1].strip()
        value = value.rstrip(".,;:!。").rstrip()
        value = value[:-2].rstrip() if value.endswith("**") and value.count("**") % 2 else value
    return value


def _after_thinking(text: str) -> str | None:
    closed = text.rfind("</think>")
    if closed >= 0:
        return text[closed + len("</think>") :]
    return None if "<think>" in text else text


def _last(matches: Iterable[re.Match[str]]) -> re.Match[str] | None:
    last = None
    for match in matches:
        last = match
    return last


def _tag(text: str) -> str | None:
    closed = _last(_CLOSED.finditer(text))
    opened = _last(_OPEN.finditer(text, closed.end() if closed else 0))
    if opened and opened[1].strip():
        return opened[1]
    return closed[2] if closed else None


def _boxed(text: str) -> str | None:
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        spaced = text.rfind("\\boxed ")
        return text[spaced + 7 :].split()[0].rstrip("$") if spaced >= 0 and text[spaced + 7 :].split() else None
    begin = text.index("{", start) + 1
    depth = 1
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[begin:at]
    return None


def _hashes(text: str) -> str | None:
    found = list(_HASHES.finditer(text))
    if not found:
        return None
    following = [line for line in text[found[-1].end() :].splitlines() if line.strip()]
    return found[-1][1] if len(following) <= 2 else None


def _label(text: str) -> str | None:
    found = list(_LABEL.finditer(text))
    if not _B_LABEL.search(text):
        found += list(_A_LABEL.finditer(text))
    return max(found, key=lambda match: match.start())[1] if found else None


def _phrase(text: str) -> str | None:
    found = _PHRASE.findall(text)
    return found[-1] if found else None


def _arrow(text: str) -> str | None:
    last = text.strip().rpartition("\n")[2]
    at, mark = max((last.rfind(mark), mark) for mark in _ARROWS)
    value = last[at + len(mark) :].strip() if at >= 0 else ""
    return value or None


def _bare(text: str) -> str | None:
    whole = text.strip()
    return whole if whole and "\n" not in whole and len(whole) <= BARE_LIMIT else None


_RULES = (
    ("tag", _tag),
    ("boxed", _boxed),
    ("hashes", _hashes),
    ("label", _label),
    ("phrase", _phrase),
    ("arrow", _arrow),
    ("bare", _bare),
)
