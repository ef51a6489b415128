"""Asking a teacher what a student lacks, and into what parts a skill falls; short lists that data are then written for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tutelage.prompts.dialects import Dialect
from tutelage.records import Prompt

_TAGS = re.compile(r"(?i)</?(?:error|question|reply|right|lack|part)\b[^>]*>")
_LACK = re.compile(r"(?i)<lack\s*+>((?:(?!</?lack\b).)++)</lack\s*+>", flags=re.DOTALL)
_PART = re.compile(r"(?i)<part\s*+>((?:(?!</?part\b).)++)</part\s*+>", flags=re.DOTALL)


def can_name(dialect: Dialect) -> bool:
    """Whether models of this dialect can be asked for weaknesses and parts at all."""
    return bool(dialect.weaknesses and dialect.subskills)


def render_weaknesses(dialect: Dialect, *, description: str, skill: str, errors: Sequence[tuple[str, str, str]], count: int) -> Prompt:
    """Show errors as (question, the student's reply, the right answer) and ask for `count` hypotheses (DataEnvGym, skill-list agent)."""
    shown = "\n".join(
        f"<error>\n<question>\n{_bare(question)}\n</question>\n<reply>\n{_bare(reply)}\n</reply>\n<right>{_bare(right)}</right>\n</error>"
        for question, reply, right in errors
    )
    text = dialect.weaknesses.format(description=description, skill=skill or "below", errors=shown, count=count)
    return Prompt.user(text.lstrip("\n"), kind="weakness.weaknesses")


def parse_weaknesses(text: str) -> list[str]:
    """The hypotheses, in order, without repeats; empty where nothing could be read."""
    return _distinct(_LACK.findall(text))


def render_subskills(
    dialect: Dialect, *, description: str, skill: str, questions: Sequence[str], known: Sequence[str], count: int
) -> Prompt:
    """Show questions of a skill and the parts named so far; ask for `count` others (DataEnvGym, skill-tree agent, explore)."""
    shown = "\n".join(f"<question>\n{_bare(question)}\n</question>" for question in questions)
    named = "\n".join(f"- {name}" for name in known) or "- none"
    text = dialect.subskills.format(description=description, skill=skill or "below", questions=shown, known=named, count=count)
    return Prompt.user(text.lstrip("\n"), kind="weakness.subskills")


def parse_subskills(text: str) -> list[str]:
    """The parts, in order, without repeats; empty where nothing could be read."""
    return _distinct(_PART.findall(text))


def example(kind: str = "", serial: int = 0) -> str:
    """A reply that the form can be read from; planning answers with it."""
    if kind == "weakness.subskills":
        return f"<part>carrying over a ten, case {serial}</part>\n<part>sums of many numbers, case {serial}</part>"
    return f"<lack>It loses the ten when a sum goes over ten, case {serial}.</lack>\n<lack>It stops too early, case {serial}.</lack>"


def _distinct(found: Sequence[str]) -> list[str]:
    texts = [" ".join(text.split()) for text in found]
    return list(dict.fromkeys(text for text in texts if any(letter.isalnum() for letter in text)))


def _bare(text: str) -> str:
    """What is shown cannot close its tags and speak to the teacher."""
    return _TAGS.sub("", text)
