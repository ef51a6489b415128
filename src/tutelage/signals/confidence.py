"""How sure a model is of its answers: what it states itself, which number it finds likeliest, and how many of its draws agree.

Each gives one (text, confidence in [0, 1]) per problem, in order; the confidence is None where there is none. The text is what the
verifier is to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tutelage.capabilities import Generates, Sampling, Scores
from tutelage.prompts.confidence import HIGHEST, cue, read_stated
from tutelage.prompts.dialects import Dialect
from tutelage.records import Problem, Prompt

Render = Callable[[Problem], Prompt]
Told = tuple[str, float | None]


class GeneratesAndScores(Generates, Scores, Protocol):
    """Both."""


def stated_confidence(model: Generates, problems: Sequence[Problem], *, render: Render, dialect: Dialect, sampling: Sampling) -> list[Told]:
    """What one reply states of itself, read from the whole of it (SaySelf's way of inference)."""
    told = [read_stated(dialect, c[0].text) for c in model.generate([render(p) for p in problems], sampling)]
    return [(t.answer, None if t.confidence is None else t.confidence / HIGHEST) for t in told]


def likeliest_confidence(
    model: GeneratesAndScores, problems: Sequence[Problem], *, render: Render, dialect: Dialect, sampling: Sampling
) -> list[Told]:
    """Which whole number from 0 to 10 the model itself finds likeliest behind its answer and the cue: prompting for a confidence, held to
    the scale, so that none is unreadable. Ties go to the smaller number. Eleven scored texts per problem."""
    prompts = [render(p) for p in problems]
    answers = [read_stated(dialect, c[0].text).answer.strip() for c in model.generate(prompts, sampling)]
    numbers = range(HIGHEST + 1)
    asked = [(prompt, f"{answer}{cue(dialect)} {n}") for prompt, answer in zip(prompts, answers, strict=True) for n in numbers]
    nats = [s.total_nats for s in model.score([prompt for prompt, _ in asked], [text for _, text in asked])]
    rows = [nats[i : i + len(numbers)] for i in range(0, len(nats), len(numbers))]
    return [(answer, row.index(max(row)) / HIGHEST) for answer, row in zip(answers, rows, strict=True)]


def self_consistency(
    model: Generates,
    problems: Sequence[Problem],
    *,
    render: Render,
    group: Callable[[Problem, Sequence[str]], Sequence[Sequence[int]]],
    sampling: Sampling,
) -> list[Told]:
    """The answer that most of `sampling.n` draws give, and their share of all draws. `group` puts the places of texts together that give
    the same answer; a text in no group has no vote. Ties go to the group that comes first. Without any vote: the first text, None."""
    told: list[Told] = []
    for problem, drawn in zip(problems, model.generate([render(p) for p in problems], sampling), strict=True):
        texts = [c.text for c in drawn]
        largest = max(group(problem, texts), key=len, default=())
        told.append((texts[largest[0]], len(largest) / len(texts)) if largest else (texts[0], None))
    return told
