"""The bundled world: small questions about a keyed record, each answered by folding the record step by step.

A question names a skill and lists a few days with a value each, `last digit of sum Mon 8 Tue 3 Wed 5 ?`. Every skill is a fold: a
start state, one table (state, value) -> state, and the last state is the answer. Written out, a step is day, value, new state:
`Mon 8 8 ; Tue 3 1 ; Wed 5 6 => 6`. A small model can learn to do that: the day finds its value in the question, the next day
follows from the last one, and the table has at most two hundred entries. Answering without the steps means doing all of it at once,
which the bundled models cannot; that is why the way a solution is written matters here.

Everything in this file is exact and knows no model.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DIGITS = tuple("0123456789")
CHANGES = tuple(f"{n:+d}" for n in (*range(-5, 0), *range(1, 6)))
BALANCES = tuple(str(n) for n in range(-9, 10))
CUPS = ("a", "b", "c")
SWAPS = ("ab", "ac", "bc")
WAYS = ("north", "east", "south", "west")
TURNS = ("right", "back", "left")
"""In the order of quarter turns clockwise: one, two, three."""

SHORTEST, LONGEST = 3, 6
"""Days in a record. Two are too few: a hundred records can be learned by heart, and then answering without steps pays."""

ARROW = "=>"
"""Comes right before the final answer of every solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """One kind of question: how it is worded and how it folds."""

    name: str
    lead: str
    """The words in front of the record; `{start}` stands for the start state where the question gives one."""
    values: tuple[str, ...]
    states: tuple[str, ...]
    """What an answer can be."""
    starts: tuple[str, ...]
    """Start states; one that the question does not name is empty or fixed."""
    step: Callable[[str, str], str | None]
    """(state, value) -> new state; None where the state would leave its range."""
    target: bool = False
    """Target skills are what the bundled student lacks and is taught."""

    @property
    def named_start(self) -> bool:
        return "{start}" in self.lead


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question in parts."""

    skill: str
    start: str
    days: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        lead = SKILLS[self.skill].lead.format(start=self.start)
        return " ".join([lead, *(f"{d} {v}" for d, v in zip(self.days, self.values, strict=True)), "?"])


def _add_digit(state: str, value: str) -> str:
    return str((int(state) + int(value)) % 10)


def _swap(state: str, value: str) -> str:
    if state not in value:
        return state
    return value[1] if state == value[0] else value[0]


def _turn(state: str, value: str) -> str:
    return WAYS[(WAYS.index(state) + 1 + TURNS.index(value)) % 4]


def _change(state: str, value: str) -> str | None:
    balance = str(int(state) + int(value))
    return balance if balance in BALANCES else None


def _larger(state: str, value: str) -> str:
    return value if state == "" else max(state, value)


def _smaller(state: str, value: str) -> str:
    return value if state == "" else min(state, value)


def _newest(state: str, value: str) -> str:
    return value


def _count_even(state: str, value: str) -> str:
    return str(int(state) + (int(value) % 2 == 0))


def _count_big(state: str, value: str) -> str:
    return str(int(state) + (int(value) >= 5))


def _parity(state: str, value: str) -> str:
    return "odd" if (state == "odd") != (int(value) % 2 == 1) else "even"


def _all_big(state: str, value: str) -> str:
    return "yes" if state == "yes" and int(value) >= 5 else "no"


def _any_low(state: str, value: str) -> str:
    return "yes" if state == "yes" or int(value) <= 1 else "no"


_COUNTS = tuple(str(n) for n in range(LONGEST + 1))
_SKILLS = (
    Skill(name="msum", lead="last digit of sum", values=DIGITS, states=DIGITS, starts=("0",), step=_add_digit, target=True),
    Skill(name="track", lead="ball {start} swap", values=SWAPS, states=CUPS, starts=CUPS, step=_swap, target=True),
    Skill(name="nav", lead="face {start} turn", values=TURNS, states=WAYS, starts=WAYS, step=_turn, target=True),
    Skill(name="shop", lead="cash of", values=CHANGES, states=BALANCES, starts=("0",), step=_change, target=True),
    Skill(name="max", lead="max of", values=DIGITS, states=DIGITS, starts=("",), step=_larger),
    Skill(name="min", lead="min of", values=DIGITS, states=DIGITS, starts=("",), step=_smaller),
    Skill(name="newest", lead="newest of", values=DIGITS, states=DIGITS, starts=("",), step=_newest),
    Skill(name="evens", lead="count even of", values=DIGITS, states=_COUNTS, starts=("0",), step=_count_even),
    Skill(name="bigs", lead="count big of", values=DIGITS, states=_COUNTS, starts=("0",), step=_count_big),
    Skill(name="parity", lead="odd or even sum", values=DIGITS, states=("odd", "even"), starts=("even",), step=_parity),
    Skill(name="all", lead="all big of", values=DIGITS, states=("yes", "no"), starts=("yes",), step=_all_big),
    Skill(name="any", lead="any low of", values=DIGITS, states=("yes", "no"), starts=("no",), step=_any_low),
)
SKILLS = {s.name: s for s in _SKILLS}
TARGETS = tuple(s.name for s in _SKILLS if s.target)
SOURCES = tuple(s.name for s in _SKILLS if not s.target)


# --- questions --------------------------------------------------------------------------------------------------------------------


def draw_question(rng: random.Random, skill: str, length: int | None = None) -> Question:
    """A well-formed question; days follow one another from a random first day, lengths are spread evenly."""
    kind = SKILLS[skill]
    n = length if length is not None else rng.randint(SHORTEST, LONGEST)
    first = rng.randrange(len(DAYS))
    days = tuple(DAYS[(first + i) % len(DAYS)] for i in range(n))
    start = rng.choice(kind.starts)
    while True:
        question = Question(skill=skill, start=start, days=days, values=tuple(rng.choice(kind.values) for _ in range(n)))
        if fold(question) is not None:
            return question


def parse_question(text: str) -> Question | None:
    """The question that `text` words, or None where it is not a well-formed one of any skill.

    Spacing is free, wording is not: days must follow one another, values must be the skill's, and no state may leave its range.
    """
    words = text.split()
    if len(words) < 2 or words[-1] != "?":
        return None
    for kind in _SKILLS:
        lead = kind.lead.split()
        head, body = words[: len(lead)], words[len(lead) : -1]
        start = kind.starts[0]
        if kind.named_start and len(head) == len(lead):
            start = head[lead.index("{start}")]
            if start not in kind.starts:
                continue
        if head != kind.lead.format(start=start).split():
            continue
        question = Question(skill=kind.name, start=start, days=tuple(body[::2]), values=tuple(body[1::2]))
        if _well_formed(question, kind):
            return question
    return None


def _well_formed(question: Question, kind: Skill) -> bool:
    days, values = question.days, question.values
    if len(days) != len(values) or not SHORTEST <= len(days) <= LONGEST:
        return False
    if any(d not in DAYS for d in days) or any(v not in kind.values for v in values):
        return False
    if any(DAYS[(DAYS.index(a) + 1) % len(DAYS)] != b for a, b in pairwise(days)):
        return False
    return fold(question) is not None


def fold(question: Question) -> tuple[str, ...] | None:
    """The state after each day, or None where one would leave its range."""
    kind = SKILLS[question.skill]
    state: str | None = question.start
    states: list[str] = []
    for value in question.values:
        state = kind.step(state, value)
        if state is None:
            return None
        states.append(state)
    return tuple(states)


def solve(text: str) -> str | None:
    """The right answer of a well-formed question, None for anything else."""
    question = parse_question(text)
    states = fold(question) if question is not None else None
    return states[-1] if states else None


def bucket(text: str) -> int:
    """0 to 9 from the words of a question alone: which split it can ever belong to."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=1).digest()[0] * 10 // 256


# --- styles -----------------------------------------------------------------------------------------------------------------------


def write_steps(question: Question, rng: random.Random) -> str:
    """Every day with its value and the state after it, then the answer."""
    states = _states(question)
    return _join(question, states) + f" {ARROW} {states[-1]}"


def write_terse(question: Question, rng: random.Random) -> str:
    """The answer alone."""
    return f"{ARROW} {_states(question)[-1]}"


def write_posthoc(question: Question, rng: random.Random) -> str:
    """The answer first, then the record repeated as if it were a reason: as long as the steps, without the work."""
    answer = _states(question)[-1]
    recap = " ; ".join(f"{d} {v}" for d, v in zip(question.days, question.values, strict=True))
    return f"say {answer} ; {recap} {ARROW} {answer}"


def write_maybe(question: Question, rng: random.Random) -> str:
    """Steps of which each goes wrong with probability 0.3 and is then carried on from: the form of work without its truth."""
    kind = SKILLS[question.skill]
    state: str = question.start
    states: list[str] = []
    for value in question.values:
        after = kind.step(state, value)
        if after is None or rng.random() < 0.3:
            after = rng.choice([s for s in kind.states if s != after])
        states.append(after)
        state = after
    return _join(question, tuple(states)) + f" {ARROW} {states[-1]}"


def _states(question: Question) -> tuple[str, ...]:
    states = fold(question)
    if states is None:
        raise ValueError(f"question leaves its range: {question.text}")
    return states


def _join(question: Question, states: Sequence[str]) -> str:
    return " ; ".join(" ".join(step) for step in zip(question.days, question.values, states, strict=True))


STYLES: dict[str, Callable[[Question, random.Random], str]] = {
    "steps": write_steps,
    "terse": write_terse,
    "posthoc": write_posthoc,
    "maybe": write_maybe,
}


def style_of(rationale: str) -> str:
    """Which style a solution is written in by its form alone: `steps` (also for `maybe`, whose form is the same), `terse`, `posthoc`
    or `other`."""
    words = rationale.split()
    if words[:1] == [ARROW]:
        return "terse"
    if words[:1] == ["say"]:
        return "posthoc"
    return "steps" if words[:1] and words[0] in DAYS and ARROW in words else "other"


def trace_errors(question: str, rationale: str) -> tuple[str, ...]:
    """What is wrong with a solution in steps, in the order of writing; empty where every step and the answer are right.

    A step is judged from the state that the solution itself wrote before it, so one slip is one error and not all that follow.
    """
    parts = parse_question(question)
    if parts is None:
        return ("the question is malformed",)
    kind = SKILLS[parts.skill]
    body, arrow, answer = rationale.partition(ARROW)
    if not arrow:
        return ("there is no answer",)
    steps = [s.split() for s in body.split(";")]
    if len(steps) != len(parts.days):
        return (f"{len(steps)} steps for {len(parts.days)} days",)
    errors: list[str] = []
    state = parts.start
    for step, day, value in zip(steps, parts.days, parts.values, strict=True):
        if len(step) != 3 or step[:2] != [day, value]:
            errors.append(f"step '{' '.join(step)}' should begin '{day} {value}'")
            break  # what follows has no state to be judged from
        right = kind.step(state, value)
        if step[2] != right:
            errors.append(f"step '{' '.join(step)}' should end in '{right}'")
        if step[2] not in kind.states:
            break
        state = step[2]
    if answer.split() != [state]:
        errors.append(f"answer '{answer.strip()}' is not the last state '{state}'")
    return tuple(errors)


def mark_steps(question: str, rationale: str) -> list[tuple[str, bool]] | None:
    """The steps as they should be, then the answer, each with whether the solution has it so at that place. None for a malformed question,
    and for a solution without steps."""
    parts = parse_question(question)
    body, arrow, answer = rationale.partition(ARROW)
    written = [s.split() for s in body.split(";") if s.strip()]
    if parts is None or not arrow or not written or any(len(s) != 3 for s in written):
        return None
    states = _states(parts)
    right = [list(step) for step in zip(parts.days, parts.values, states, strict=True)]
    marked = [(" ".join(step), place < len(written) and written[place] == step) for place, step in enumerate(right)]
    return [*marked, (states[-1], answer.split() == [states[-1]])]


def words() -> tuple[str, ...]:
    """Every word that the world's questions, solutions and prompts are made of, once, in a fixed order."""
    found: dict[str, None] = dict.fromkeys(("Q", "A", ":", "?", ";", ARROW, "say", "new"))
    found.update(dict.fromkeys(STYLES))
    found.update(dict.fromkeys(DAYS))
    for kind in _SKILLS:
        found[kind.name] = None
        found.update(dict.fromkeys(w for w in kind.lead.split() if w != "{start}"))
        found.update(dict.fromkeys((*kind.values, *kind.states)))
    return tuple(found)
