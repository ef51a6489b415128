"""What the files of the second bundled world share: the shape of a question and of a kind of question."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question in parts."""

    skill: str
    text: str
    given: tuple[str, ...]
    """What each step of a solution repeats, in order."""
    start: str
    """The state before the first step, in the words of solutions."""
    asked: str = ""
    """What the answer depends on beside the last state: a person, a kind of thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """One kind of question."""

    name: str
    draw: Callable[[random.Random], str]
    """A fresh question."""
    read: Callable[[str], Question | None]
    """A text as a question; None where it is not a well-formed one."""
    advance: Callable[[Question, str, str], str | None]
    """(question, state, given) -> new state."""
    is_state: Callable[[str], bool]
    answer: Callable[[Question, str], str]
    """(question, last state) -> answer."""
    step: str
    """How one step is written; fields given and state."""
    split: Callable[[str], list[str]]
    """The steps of a written solution, each as it stands."""
    words: Callable[[], tuple[str, ...]]
    """Words, without spaces, that should be one token."""
    closing: Callable[[Question, str], str] = lambda question, state: ""
    """(question, last state) -> a sentence between the last step and the answer; empty where the answer is the state itself."""
    choices: tuple[str, ...] = ()
    """What an answer can be, where the options are the same in every question."""


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text: a list that can be read without quotation marks."""
    return tuple(text.split())
