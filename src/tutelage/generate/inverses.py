"""Inverse questions from a teacher, and its word on whether their answers agree with the questions they came from."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tutelage.capabilities import Generates, Sampling
from tutelage.prompts.backward import options_dealt, parse_check, parse_inverse_question, render_check, render_inverse_question
from tutelage.prompts.dialects import Dialect
from tutelage.records import Origin, Problem, Solution
from tutelage.verify.choice import listed_options
from tutelage.verify.extract import final_answer


def draft_inverses(
    teacher: Generates,
    problems: Sequence[Problem],
    *,
    dialect: Dialect,
    description: str,
    sampling: Sampling,
    rng: Random,
    teacher_id: str,
    tell_answer: bool = True,
) -> list[Problem | None]:
    """For each problem, in order, its inverse without an answer, or None where the reply held none or repeated the question."""
    prompts = [
        render_inverse_question(
            dialect, description=description, question=p.text, answer=p.answer if tell_answer else None, choices=bool(p.choices)
        )
        for p in problems
    ]
    found: list[Problem | None] = []
    for problem, prompt, replies in zip(problems, prompts, teacher.generate(prompts, sampling), strict=True):
        text = parse_inverse_question(dialect, replies[0].text)
        if text is None or text.split() == problem.text.split():
            found.append(None)
            continue
        origin = Origin(step="draft_inverses", parents=(problem.id,), model=teacher_id, prompt=prompt.id)
        text = options_dealt(text, rng)
        # Options that it lists are its own; those of the question that it was made from mean something else under the same letters.
        choices = problem.choices and (listed_options(text) or problem.choices)
        found.append(Problem(text=text, skill=problem.skill, choices=choices, origin=origin))
    return found


def judge_inverses(judge: Generates, problems: Sequence[Problem], backward: Sequence[Solution], *, sampling: Sampling) -> list[bool | None]:
    """Whether each backward solution's answer agrees with the problem that its question was made from; None where the judge's reply
    could not be read. A solution without an answer agrees with nothing, and nobody is asked."""
    answers = [answer_of(x) for x in backward]
    asked = [
        (i, render_check(question=p.text, answer=p.answer or "", inverse=x.problem.text, inverse_answer=said))
        for i, (p, x, said) in enumerate(zip(problems, backward, answers, strict=True))
        if said is not None
    ]
    verdicts: list[bool | None] = [False] * len(backward)
    for (i, _), replies in zip(asked, judge.generate([prompt for _, prompt in asked], sampling), strict=True):
        verdicts[i] = parse_check(replies[0].text)
    return verdicts


def answer_of(solution: Solution) -> str | None:
    """The answer that a solution gives. A verifier without a right answer to compare with may not have read one; then what the text itself
    marks as final."""
    if solution.answer is not None:
        return solution.answer
    found = final_answer(solution.text)
    return None if found is None else found.value
