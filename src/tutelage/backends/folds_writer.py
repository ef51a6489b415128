"""`scripted:folds` and `scripted:folds-weak`: the bundled world as a teacher that follows its rules, with declared faults.

They do what the bundled teacher was not raised to do, in the same wording: rephrase a question (other days, the same values), invent
another, write practice items. Everything is exact but for the faults: a solution has a wrong step with probability `wrong`; a question
that was asked for is off the template with probability `fault` (of another kind, or with a changed value where only words should change).
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from tutelage.backends.scripted import Script
from tutelage.hashing import digest
from tutelage.records import Prompt
from tutelage.tasks.folds_world import DAYS, SKILLS, SOURCES, STYLES, Question, draw_question, fold, parse_question

WRONG = 0.08
FAULTS = {"folds": 0.05, "folds-weak": 0.3}
ITEMS = 5
"""Questions in a reply to a question prompt."""

_QUESTION = re.compile(r"^Q : (.*\?)$", flags=re.MULTILINE)
_ASKED = re.compile(r"^Q : (.*\?)\n(\w+) :$", flags=re.MULTILINE)
_LIST = re.compile(r"^(new|again) (\S+) :$", flags=re.MULTILINE)


def folds_script(name: str) -> Script:
    """The script of that name."""
    fault = FAULTS[name]

    def answer(prompt: Prompt, index: int, seed: int | None) -> str:
        rng = random.Random(digest(["folds writer", name, prompt.id, index, seed]))
        return _answer(prompt.text, rng, fault=fault)

    return Script(name=name, answer=answer, version=f"1 {WRONG} {fault}", dialect="folds")


def _answer(text: str, rng: random.Random, *, fault: float) -> str:
    listed = _LIST.search(text)
    shown = [q for q in map(parse_question, _QUESTION.findall(text)) if q is not None]
    if listed is not None and listed[1] == "again" and shown:
        return f" {_reworded(shown[-1], rng, fault=fault).text}"
    if listed is not None and listed[2] in SKILLS:
        return "\n".join(f"Q : {_drawn(listed[2], rng, fault=fault).text}" for _ in range(ITEMS))
    asked = _ASKED.findall(text)
    if asked and text.endswith(f"{asked[-1][1]} :"):
        question = parse_question(asked[-1][0])
        return "" if question is None else _solved(question, asked[-1][1], rng)
    if text.endswith("\n\nQ :") and shown:
        question = _drawn(shown[-1].skill, rng, fault=fault)
        return f" {question.text}\nA : {_solved(question, 'A', rng)}"
    return ""


def _solved(question: Question, cue: str, rng: random.Random) -> str:
    """In steps unless another style is named."""
    style = cue if cue in STYLES else "steps"
    if style == "steps" and rng.random() < WRONG:
        return _slipped(question, rng)
    return STYLES[style](question, rng)


def _slipped(question: Question, rng: random.Random) -> str:
    """Steps with one wrong state that is carried on from; right steps where no slip stays within the world's range."""
    kind = SKILLS[question.skill]
    places = list(range(len(question.values)))
    rng.shuffle(places)
    for place in places:
        states = list(fold(question) or ())
        others = [s for s in kind.states if s != states[place]]
        state: str | None = rng.choice(others)
        after: list[str | None] = [state]
        for value in question.values[place + 1 :]:
            state = None if state is None else kind.step(state, value)
            after.append(state)
        if all(s is not None for s in after):
            written = [*states[:place], *(s for s in after if s is not None)]
            steps = " ; ".join(f"{d} {v} {s}" for d, v, s in zip(question.days, question.values, written, strict=True))
            return f"{steps} => {written[-1]}"
    return STYLES["steps"](question, rng)


def _drawn(skill: str, rng: random.Random, *, fault: float) -> Question:
    return draw_question(rng, rng.choice([s for s in SOURCES if s != skill]) if rng.random() < fault else skill)


def _reworded(question: Question, rng: random.Random, *, fault: float) -> Question:
    """The same values on other days; with a fault one value is another."""
    first = (DAYS.index(question.days[0]) + rng.randrange(1, len(DAYS))) % len(DAYS)
    moved = replace(question, days=tuple(DAYS[(first + i) % len(DAYS)] for i in range(len(question.days))))
    if rng.random() >= fault:
        return moved
    place = rng.randrange(len(moved.values))
    for value in rng.sample(SKILLS[moved.skill].values, k=len(SKILLS[moved.skill].values)):
        changed = replace(moved, values=(*moved.values[:place], value, *moved.values[place + 1 :]))
        if value != moved.values[place] and fold(changed) is not None:
            return changed
    return moved
