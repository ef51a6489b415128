"""New problems with their solutions from a teacher, ordered one by one: so many like this, or so many after these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tutelage.capabilities import Generates, Sampling
from tutelage.generate.questions import Refuse, none_refused
from tutelage.generate.solutions import Verify
from tutelage.prompts.dialects import Dialect
from tutelage.prompts.practice import WorkedItem, parse_items
from tutelage.records import Origin, Problem, Prompt, Solution

MOST_PER_CALL = 10
"""Items asked for in one call (LLM2LLM, released pipeline)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`wanted` new problems of one skill."""

    skill: str
    wanted: int
    shown: tuple[Solution, ...]
    """What stands in the prompt with its solution; the new problems descend from it."""
    missed: tuple[Problem, ...] = ()
    """What the student got wrong; shown without a solution."""
    focus: str = ""
    """What to work on, in words; for instruction followers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What came of the orders."""

    solutions: list[Solution]
    """In the order of the orders; the answer is the one that the teacher's own solution ends with."""
    calls: int
    asked: int
    """Items asked for, or sent where a reply held more."""
    parsed: int
    dropped: dict[str, int]
    unreadable: str = ""
    """The first reply without a readable item."""


@dataclass(slots=True)
class _Open:
    order: Order
    kept: list[Solution] = field(default_factory=list)
    attempt: int = 0
    fruitless: int = 0

    @property
    def missing(self) -> int:
        return self.order.wanted - len(self.kept)


def fill_orders(
    teacher: Generates,
    orders: Sequence[Order],
    *,
    render: Callable[[Order, int, Sequence[WorkedItem]], Prompt],
    dialect: Dialect,
    verify: Verify,
    is_new: Callable[[str], bool],
    sampling: Sampling,
    teacher_id: str,
    tries: int = 5,
    most_per_call: int = MOST_PER_CALL,
    refuse: Refuse = none_refused,
    step: str = "practice",
) -> Delivery:
    """Ask for every order until it is filled, or until `tries` calls in a row brought it nothing (LLM2LLM, rejection loop with an end).

    Attempt a asks for the missing number plus a, at most `most_per_call`; what a reply holds beyond that is left out. On odd attempts
    `render` is given what was kept, so that the prompt can show it. `is_new` takes a question or turns it down (see `select.novelty`); a
    solution without a readable final answer is left out.
    """
    waiting = [_Open(order) for order in orders]
    dropped: dict[str, int] = {}
    calls = asked = parsed = 0
    unreadable = ""

    def drop(reason: str) -> None:
        dropped[reason] = dropped.get(reason, 0) + 1

    while batch := [x for x in waiting if x.missing > 0 and x.fruitless < tries]:
        counts = [max(1, min(x.missing + x.attempt, most_per_call)) for x in batch]
        prompts = [
            render(x.order, count, [WorkedItem(s.problem.text, s.text) for s in x.kept] if x.attempt % 2 else [])
            for x, count in zip(batch, counts, strict=True)
        ]
        # Another attempt must not repeat the noise of the one before it.
        noise = replace(sampling, seed=None if sampling.seed is None else sampling.seed + calls)
        for x, count, prompt, completions in zip(batch, counts, prompts, teacher.generate(prompts, noise), strict=True):
            items = parse_items(dialect, completions[0].text)
            calls, asked, parsed, before = calls + 1, asked + max(count, len(items)), parsed + len(items), len(x.kept)
            if not items:
                unreadable = unreadable or completions[0].text or completions[0].error or ""
                drop("reply without a readable item")
            for place, (item, refused) in enumerate(zip(items, refuse([item.question for item in items]), strict=True)):
                solution = _solution(item, x.order, verify=verify, teacher_id=teacher_id, prompt=prompt, step=step)
                if x.missing <= 0 or place >= count:
                    drop("beyond the number wanted")
                elif refused is not None:
                    drop(refused)
                elif solution.answer is None:
                    drop("no final answer in the solution")
                elif not is_new(item.question):
                    drop("not new")
                else:
                    x.kept.append(solution)
            x.attempt += 1
            x.fruitless = 0 if len(x.kept) > before else x.fruitless + 1
    return Delivery(
        solutions=[s for x in waiting for s in x.kept],
        calls=calls,
        asked=asked,
        parsed=parsed,
        dropped=dropped,
        unreadable=unreadable,
    )


def _solution(item: WorkedItem, order: Order, *, verify: Verify, teacher_id: str, prompt: Prompt, step: str) -> Solution:
    parents = tuple(s.id for s in order.shown) + tuple(p.id for p in order.missed)
    asked = Problem(text=item.question, skill=order.skill)
    answer = verify(asked, item.solution).extracted
    problem = replace(asked, answer=answer, origin=Origin(step=step, parents=parents, model=teacher_id, prompt=prompt.id))
    origin = Origin(step=step, parents=(problem.id,), model=teacher_id, prompt=prompt.id)
    return Solution(problem=problem, text=item.solution, answer=answer, origin=origin)
