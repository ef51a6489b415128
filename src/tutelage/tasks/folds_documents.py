"""The documents that the bundled models are raised on, worded by the same templates that ask them later.

A document is a list of pieces; a piece is text with the weight of its tokens in pre-training. Pieces are tokenized one by one and
concatenated, as prompts and completions are everywhere else. Questions of the target skills that can ever be test questions do not
occur.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from tutelage.prompts.dialects import FOLDS
from tutelage.tasks.folds_notations import WRITERS
from tutelage.tasks.folds_world import SOURCES, TARGETS, Question, bucket, draw_question

TEST_BUCKETS = (0, 1, 2, 3)
"""Questions of these buckets are for testing only (see `folds_world.bucket`)."""

QUESTION_WEIGHT = 0.1
"""Question tokens are mostly random draws: at full weight their noise drowns what can be learned."""
LIST_WEIGHT = 0.3
TEXT_WEIGHT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    text: str
    weight: float
    first: float | None = None
    """Weight of the first token, where it differs: the first token of a demonstration chooses its style, and a model that learned
    from it would write the styles of demonstrations unasked."""
    end: bool = False
    """Followed by the end-of-text token, with the same weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diet:
    """What a model is raised on: shares of kinds of documents, of skills and of styles. Shares need not sum to one."""

    target_share: float
    """Share of documents on target skills."""
    plain: Mapping[str, float]
    """How a question without demonstration or cue is answered: shares of styles. The habit that teaching has to change."""
    shown: Mapping[str, float]
    """Shares of styles in documents with demonstrations, where the demonstration's style is that of the answer."""
    cued: Mapping[str, float]
    """Shares of styles in documents that name the style."""
    kinds: Mapping[str, float] = field(default_factory=lambda: {"plain": 0.27, "cued": 0.2, "shots": 0.41, "questions": 0.08, "text": 0.04})
    """Shares of kinds of documents."""


def draw_document(rng: random.Random, diet: Diet) -> list[Piece]:
    kind = _draw(rng, diet.kinds)
    if kind == "text":
        return [Piece(text=_any_text(rng), weight=TEXT_WEIGHT, end=True)]
    skill = rng.choice(TARGETS if rng.random() < diet.target_share else SOURCES)
    if kind == "questions":
        return _question_list(rng, skill)
    question = draw_training_question(rng, skill)
    if kind == "plain":
        style, prompt = _draw(rng, diet.plain), FOLDS.plain.format(question=question.text, description="", answer_format="")
        return [Piece(text=prompt, weight=QUESTION_WEIGHT), _answer(rng, question, style)]
    if kind == "cued":
        style = _draw(rng, diet.cued)
        prompt = FOLDS.technique.format(question=question.text, technique=style, description="", answer_format="", instruction="")
        return [Piece(text=prompt, weight=QUESTION_WEIGHT), _answer(rng, question, style)]
    return _shots(rng, diet, question)


def draw_training_question(rng: random.Random, skill: str) -> Question:
    """A question that no test will ever ask."""
    while True:
        question = draw_question(rng, skill)
        if skill in SOURCES or bucket(question.text) not in TEST_BUCKETS:
            return question


def draw_reserved_question(rng: random.Random, skill: str) -> Question:
    """A question of a target skill that no document holds; of another skill, any."""
    while True:
        question = draw_question(rng, skill)
        if skill in SOURCES or bucket(question.text) in TEST_BUCKETS:
            return question


def _draw(rng: random.Random, shares: Mapping[str, float]) -> str:
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def _answer(rng: random.Random, question: Question, style: str) -> Piece:
    return Piece(text=WRITERS[style](question, rng), weight=1.0, end=True)


def _shots(rng: random.Random, diet: Diet, question: Question) -> list[Piece]:
    """One to three demonstrations of one style, mostly of the question's skill, then the question answered in that style."""
    style = _draw(rng, diet.shown)
    count = rng.choices((1, 2, 3), weights=(0.7, 0.15, 0.15))[0]
    skills = [question.skill if rng.random() < 0.85 else rng.choice(SOURCES) for _ in range(count)]
    demos = [draw_training_question(rng, skill) for skill in skills]
    solved = [FOLDS.demonstration.format(question=d.text, rationale=f"\0{WRITERS[style](d, rng)}\0") for d in demos]
    prompt = FOLDS.shots.format(demonstrations="\n\n".join(solved), question=question.text, description="", answer_format="")
    pieces: list[Piece] = []
    for index, text in enumerate(prompt.split("\0")):
        if index % 2:
            pieces.append(Piece(text=text, weight=1.0, first=0.0 if index == 1 else 1.0))
        else:
            # The space in front of a rationale is part of the rationale's first token; the line break after one is not to be
            # learned, since unasked a solution ends with the end-of-text token.
            pieces.append(Piece(text=text.removesuffix(" "), weight=QUESTION_WEIGHT, first=0.0 if index else None))
    return [*pieces, _answer(rng, question, style)]


def _question_list(rng: random.Random, skill: str) -> list[Piece]:
    """A few questions of one skill, then five more."""
    shown = rng.choices((1, 2, 3, 4), weights=(0.1, 0.1, 0.7, 0.1))[0]
    items = [FOLDS.item.format(id=i, question=draw_training_question(rng, skill).text, answer="") for i in range(shown + 5)]
    prompt = FOLDS.questions.format(task=skill, description="", items="\n".join(items[:shown]), count=5, next_id=shown)
    return [Piece(text=prompt, weight=LIST_WEIGHT), Piece(text="\n".join(items[shown:]), weight=LIST_WEIGHT, end=True)]


_SYLLABLES = ("ba", "re", "ti", "mo", "lu", "sha", "kel", "nor", "vi", "ost", "en", "que", "dra", "pho", "ix", "um")
_MARKS = (".", ",", "!", "(", ")", "-", "/", '"', "=", "+", "_", "{", "}", "%", "\t", "\n")
_BLOCKS = (
    (0x20, 0x7E),
    (0xA1, 0x17F),
    (0x391, 0x3C9),
    (0x410, 0x44F),
    (0x5D0, 0x5EA),
    (0x905, 0x939),
    (0x3041, 0x3096),
    (0x4E00, 0x4FFF),
    (0x1F600, 0x1F64F),
)
"""Ranges of code points: ASCII, Latin, Greek, Cyrillic, Hebrew, Devanagari, Hiragana, Han, emoji."""


def _any_text(rng: random.Random) -> str:
    """Text of no meaning that uses every byte UTF-8 commonly has, so that no fallback byte stays untrained."""
    out: list[str] = []
    for _ in range(rng.randint(3, 8)):
        kind = rng.random()
        if kind < 0.6:
            word = "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(1, 3)))
            out.append(word.capitalize() if rng.random() < 0.2 else word)
        elif kind < 0.75:
            out.append(rng.choice(_MARKS))
        else:
            low, high = rng.choice(_BLOCKS)
            out.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 4))))
    return " ".join(out)
