"""What recipes that teach in rounds share: a labelled seed set, training from the base on all rows so far, and answers of the student.

A round's result is not kept under a name of its own, since the number of rounds is a setting; the recipe keeps all of them at its end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from tutelage.errors import DataError
from tutelage.generate.practice import Delivery, Order, fill_orders
from tutelage.generate.solutions import solve
from tutelage.lab import Lab, Role
from tutelage.objectives import cross_entropy
from tutelage.prompts.practice import WorkedItem, render_lookalikes, render_practice
from tutelage.records import Example, Origin, Problem, Prompt, Solution
from tutelage.tasks.task import by_skill
from tutelage.train import FitSettings, Fixed

Ask = Callable[[Order, int, Sequence[WorkedItem]], Prompt]
"""(order, number of items, items already kept) -> prompt."""


def worked_seeds(lab: Lab, name: str, *, wanted: int) -> list[Solution]:
    """Up to `wanted` labelled problems per skill with the worked solutions that the task ships, kept under `name`.

    They are drawn from the seed and training rows. Where no row has a worked solution, the bare answers are the solutions.
    """
    rows = [p for p in (*lab.task.seed, *lab.task.train) if p.answer is not None]
    worked = [p for p in rows if lab.task.worked(p) is not None]
    chosen: list[Solution] = []
    dropped: Counter[str] = Counter()
    asked = 0
    for skill, problems in by_skill(worked or rows).items():
        drawn = lab.rng(name, skill).sample(problems, k=min(wanted, len(problems)))
        asked += len(drawn)
        for problem, reason in zip(drawn, lab.leaks([p.text for p in drawn]), strict=True):
            if reason is not None:
                dropped[reason] += 1
                continue
            text = lab.task.worked(problem) or lab.task.answer_only(problem.answer or "")
            chosen.append(Solution(problem=problem, text=text, answer=problem.answer, origin=Origin(step=name, parents=(problem.id,))))
    lab.tally(name, asked=asked, parsed=asked, kept=len(chosen), dropped=dropped)
    if not chosen:
        raise DataError(
            f"task {lab.task.name} has no labelled seed problem to learn from",
            got=f"{asked} rows with an answer",
            fix="give it seed rows with answers that repeat no test or validation row",
        )
    return lab.keep(name, chosen)


def training_examples(lab: Lab, student: Role, solutions: Sequence[Solution]) -> list[Example]:
    """Solutions as examples under the student's plain prompt, shuffled by the stream that `steps.teach` shuffles by."""
    examples = [
        Example(
            prompt=student.wording.plain(x.problem),
            completion=x.text,
            context={"skill": x.problem.skill},
            origin=Origin(step="examples", parents=(x.id,), model=None if x.origin is None else x.origin.model),
        )
        for x in solutions
    ]
    lab.rng("examples").shuffle(examples)
    return examples


def train_on(lab: Lab, base: Role, solutions: Sequence[Solution], *, settings: FitSettings) -> Role:
    """Fine-tune `base` on all of `solutions`. The same base and rows are trained once, however often they are asked for."""
    return lab.fit("student", base, Fixed(training_examples(lab, base, solutions)), cross_entropy(), settings=settings, step="teach")


def answers_of(
    lab: Lab, model: Role, problems: Sequence[Problem], *, max_tokens: int, step: str, render: Callable[[Problem], Prompt] | None = None
) -> list[Solution]:
    """One greedy answer per problem, in order; under the plain prompt unless `render` says otherwise."""
    return solve(
        model,
        problems,
        render=render or model.wording.plain,
        verify=lab.task.verify,
        sampling=lab.sampling(step, max_tokens=max_tokens, stop=model.wording.dialect.solution_stop),
        model_id=model.id,
        step=step,
    )


def is_right(lab: Lab, solution: Solution) -> bool:
    """Whether the answer is the problem's; an answer that cannot be read is not right."""
    return lab.task.verify(solution.problem, solution.text).right


def accuracy_by_skill(lab: Lab, solutions: Sequence[Solution]) -> dict[str, float]:
    """Share of right answers per skill."""
    found: dict[str, list[bool]] = {}
    for solution in solutions:
        found.setdefault(solution.problem.skill, []).append(is_right(lab, solution))
    return {skill: sum(rights) / len(rights) for skill, rights in found.items()}


def dealt(total: int, places: Sequence[int], *, rng: random.Random) -> dict[int, int]:
    """`total` dealt out over the places in turn, in a drawn order: place -> its share; places that get nothing are not named."""
    order = rng.sample(list(places), k=len(places))
    return dict(Counter(order[turn % len(order)] for turn in range(total if order else 0)))


def write_practice(
    lab: Lab,
    teacher: Role,
    orders: Sequence[Order],
    *,
    is_new: Callable[[str], bool],
    temperature: float,
    max_tokens: int,
    tries: int,
    most_per_call: int,
    step: str,
    ask: Ask | None = None,
    so_far: int = 0,
) -> Delivery:
    """Fill the orders and count the yield; by default one look-alike prompt per order. Where they bring nothing, and earlier rounds
    brought no row either (`so_far`), the arm is refused: it would end on the rows that it started with."""
    wording = teacher.wording
    delivery = fill_orders(
        teacher,
        orders,
        render=ask or lookalike_prompt(teacher),
        dialect=wording.dialect,
        verify=lab.task.verify,
        is_new=is_new,
        sampling=lab.sampling(step, max_tokens=max_tokens, temperature=temperature, stop=wording.dialect.worked_stop),
        teacher_id=teacher.id,
        tries=tries,
        most_per_call=most_per_call,
        refuse=lab.leaks,
        step=step,
    )
    lab.tally(step, asked=delivery.asked, parsed=delivery.parsed, kept=len(delivery.solutions), dropped=delivery.dropped)
    if delivery.asked and not delivery.solutions and not so_far:
        why = "; ".join(f"{count} x {reason}" for reason, count in sorted(delivery.dropped.items()))
        unreadable = f"; a reply began {delivery.unreadable[:120]!r}" if delivery.unreadable else ""
        lab.refuse(
            f"the teacher's replies hold no usable new problem (step {step})",
            got=f"kept 0 of {delivery.asked}: {why}{unreadable}",
            fix="use a teacher that writes problems in the form that the prompt shows, each with a solution that ends with "
            f"{lab.task.answer_format}, or allow it longer replies (--set item_tokens=N)",
        )
    return delivery


def lookalike_prompt(teacher: Role) -> Ask:
    """Ask for problems like the first one that an order shows."""
    wording = teacher.wording

    def render(order: Order, count: int, kept: Sequence[WorkedItem]) -> Prompt:
        missed = order.shown[0]
        return render_lookalikes(
            wording.dialect,
            description=wording.description,
            answer_format=wording.answer_format,
            question=missed.problem.text,
            solution=missed.text,
            count=count,
            kept=kept,
        )

    return render


def practice_prompt(teacher: Role) -> Ask:
    """Ask for problems after all that an order shows, with what was missed and what to work on."""
    wording = teacher.wording

    def render(order: Order, count: int, kept: Sequence[WorkedItem]) -> Prompt:
        shown = [WorkedItem(s.problem.text, s.text) for s in order.shown]
        return render_practice(
            wording.dialect,
            description=wording.description,
            answer_format=wording.answer_format,
            shown=[*shown, *kept],
            missed=[p.text for p in order.missed],
            focus=order.focus,
            count=count,
        )

    return render
