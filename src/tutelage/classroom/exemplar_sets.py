"""Sets of worked examples that learners are examined behind: what they miss, and the teacher's rewriting after it (LbT, Sec. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from tutelage import rounds
from tutelage.generate.exemplars import Set
from tutelage.generate.practice import MOST_PER_CALL, Order
from tutelage.lab import Lab, Role
from tutelage.prompts.exemplars import parse_reasons, render_reasons
from tutelage.prompts.practice import WorkedItem
from tutelage.records import Problem, Solution


def missed_behind(lab: Lab, models: Sequence[Role], held: Set, batch: Sequence[Problem], *, max_tokens: int) -> list[Solution]:
    """Wrong answers behind the set, those of the models in turn, so that the first few are not one model's."""
    missed = []
    for model in models:
        behind = model.wording.shots([(x.problem.text, x.text) for x in held])
        answers = rounds.answers_of(lab, model, batch, max_tokens=max_tokens, step="exemplars", render=behind)
        missed.append([x for x in answers if not rounds.is_right(lab, x)])
    return [x for row in zip_longest(*missed) for x in row if x is not None]


def rewritten_sets(
    lab: Lab, held: Set, missed: Sequence[Solution], *, name: str, count: int, reasons: int, temperature: float, max_tokens: int
) -> list[Set]:
    """Up to `count` new sets as long as `held`, after as many missed questions as it has examples and up to `reasons` reasons of the
    teacher in turn. A teacher that follows no instructions is asked for no reasons. Incomplete sets are left out."""
    teacher = lab.teacher
    focus = [""]
    if missed and teacher.wording.dialect.tutor:
        prompt = render_reasons(
            teacher.wording.dialect,
            description=teacher.wording.description,
            failures=[(x.problem.text, x.problem.answer or "", x.answer or "nothing readable") for x in missed[: len(held)]],
            count=reasons,
            shown=[WorkedItem(x.problem.text, x.text) for x in held],
        )
        sampling = lab.sampling(f"reasons {name}", max_tokens=max_tokens, temperature=temperature)
        focus = parse_reasons(teacher.generate([prompt], sampling)[0][0].text) or [""]
    asked = tuple({x.problem.id: x.problem for x in missed}.values())[: len(held)]
    found: list[Set] = []
    for turn in range(count):
        order = Order(skill=held[0].problem.skill, wanted=len(held), shown=held, missed=asked, focus=focus[turn % len(focus)])
        written = rounds.write_practice(
            lab,
            teacher,
            [order],
            is_new=lambda _: True,
            temperature=temperature,
            max_tokens=max_tokens,
            tries=2,
            most_per_call=MOST_PER_CALL,
            step=f"rewrite {name}.{turn}",
            ask=rounds.practice_prompt(teacher),
            so_far=len(held),  # a set that cannot be rewritten stays as it is
        ).solutions
        if len(written) == len(held):
            found.append(tuple(written))
    return found
