"""One question made from another: in other words, or inspired by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tutelage.capabilities import Generates, Sampling
from tutelage.generate.questions import Refuse, none_refused
from tutelage.records import Origin, Problem, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """Questions with what became of everything that was asked for."""

    problems: list[Problem]
    calls: int
    parsed: int
    dropped: dict[str, int]
    unreadable: str = ""
    """The first reply that no question could be read from."""


@dataclass(slots=True)
class _Open:
    seed: Problem
    wanted: int
    found: list[Problem] = field(default_factory=list)
    fruitless: int = 0


def rewrite_questions(
    writer: Generates,
    wanted: Sequence[tuple[Problem, int]],
    *,
    render: Callable[[Problem], Prompt],
    parse: Callable[[str], str | None],
    keep_answer: bool,
    is_new: Callable[[str], bool],
    sampling: Sampling,
    writer_id: str,
    tries: int = 3,
    refuse: Refuse = none_refused,
    step: str = "rewrite_questions",
) -> Rewritten:
    """For every (problem, number) that many different questions made from it, one per call, seed by seed in order.

    A seed that brought nothing `tries` times in a row is given up. The answer of a rewritten question is its seed's (`keep_answer`), else
    unknown. `is_new` takes a question or turns it down.
    """
    waiting = [_Open(seed, count) for seed, count in wanted]
    dropped: dict[str, int] = {}
    calls = parsed = 0
    unreadable = ""
    while batch := [x for x in waiting if len(x.found) < x.wanted and x.fruitless < tries]:
        prompts = [render(x.seed) for x in batch]
        # Another round must not repeat the noise of the one before it.
        noise = replace(sampling, seed=None if sampling.seed is None else sampling.seed + calls)
        replies = [completions[0] for completions in writer.generate(prompts, noise)]
        questions = [parse(reply.text) for reply in replies]
        refused = refuse([q or "" for q in questions])
        for x, prompt, reply, question, reason in zip(batch, prompts, replies, questions, refused, strict=True):
            calls += 1
            if question is None:
                unreadable = unreadable or reply.text or reply.error or ""
                reason = "no question could be read"
            else:
                parsed += 1
                reason = reason or (None if is_new(question) else "not new")
            if reason is not None or question is None:
                dropped[reason or ""] = dropped.get(reason or "", 0) + 1
                x.fruitless += 1
                continue
            x.fruitless = 0
            origin = Origin(step=step, parents=(x.seed.id,), model=writer_id, prompt=prompt.id)
            x.found.append(
                Problem(
                    text=question,
                    answer=x.seed.answer if keep_answer else None,
                    skill=x.seed.skill,
                    choices=x.seed.choices if keep_answer else (),
                    origin=origin,
                )
            )
    return Rewritten(problems=[p for x in waiting for p in x.found], calls=calls, parsed=parsed, dropped=dropped, unreadable=unreadable)
