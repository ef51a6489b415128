"""New questions from a teacher, shown a few seeds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tutelage.capabilities import Generates, Sampling
from tutelage.prompts.dialects import Dialect
from tutelage.prompts.questions import parse_questions, render_questions
from tutelage.records import Origin, Problem, Prompt
from tutelage.tasks.task import by_skill

Refuse = Callable[[Sequence[str]], Sequence[str | None]]
"""Texts of questions -> for each the reason why nobody may train on it, None for one that may stay."""


def none_refused(texts: Sequence[str]) -> list[str | None]:
    return [None] * len(texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """Questions of one skill, with what became of everything that was asked for."""

    problems: list[Problem]
    prompts: list[Prompt]
    """The prompt that each problem came from, in the same order."""
    calls: int
    parsed: int
    dropped: dict[str, int]
    unreadable: str = ""
    """The first reply without a readable item, to show where nothing could be read."""


def draft_questions(
    teacher: Generates,
    seeds: Sequence[Problem],
    *,
    wanted: int,
    task: str,
    description: str,
    dialect: Dialect,
    sampling: Sampling,
    rng: random.Random,
    teacher_id: str,
    seeds_per_prompt: int = 3,
    items_per_call: int = 5,
    calls_at_most: int,
    known: Sequence[Problem] = (),
    refuse: Refuse = none_refused,
) -> Drafted:
    """Ask in rounds until `wanted` distinct questions are there or `calls_at_most` calls are spent.

    Repeats of a question, of a seed, or of a problem in `known` are dropped and counted, and so is what `refuse` names a reason for. The
    answer of a drafted problem is the teacher's own claim, None where the dialect asks for none.
    """
    skill = seeds[0].skill
    seen = {_normal(p.text) for p in (*seeds, *known)}
    problems: list[Problem] = []
    prompts: list[Prompt] = []
    dropped: dict[str, int] = {}
    calls = parsed = 0
    unreadable = ""
    per_call = float(items_per_call)
    while len(problems) < wanted and calls < calls_at_most:
        # The yield so far says how many calls the rest will take; a share above that spares a round of stragglers.
        need = max(1, round(1.1 * (wanted - len(problems)) / max(per_call, 0.25) + 0.5))
        batch = []
        for _ in range(min(need, calls_at_most - calls)):
            shown = rng.sample(list(seeds), k=min(seeds_per_prompt, len(seeds)))
            batch.append(
                render_questions(
                    dialect, task=task, description=description, seeds=shown, count=items_per_call, first_id=rng.randint(1, 9) * 100
                )
            )
        # Another round must not repeat the noise of the one before it.
        noise = replace(sampling, seed=None if sampling.seed is None else sampling.seed + calls)
        for prompt, completions in zip(batch, teacher.generate(batch, noise), strict=True):
            items = parse_questions(dialect, completions[0].text)
            calls += 1
            if not items:
                unreadable = unreadable or completions[0].text or completions[0].error or ""
                dropped["reply without a readable item"] = dropped.get("reply without a readable item", 0) + 1
            for item, refused in zip(items, refuse([item.question for item in items]), strict=True):
                parsed += 1
                reason = "repeat" if _normal(item.question) in seen else refused
                if reason is not None:
                    dropped[reason] = dropped.get(reason, 0) + 1
                    continue
                seen.add(_normal(item.question))
                origin = Origin(
                    step="draft_questions", parents=tuple(s.id for s in seeds if s.text in prompt.text), model=teacher_id, prompt=prompt.id
                )
                problems.append(Problem(text=item.question, answer=item.answer, skill=skill, origin=origin))
                prompts.append(prompt)
        per_call = len(problems) / calls
    if len(problems) > wanted:
        dropped["beyond the number wanted"] = len(problems) - wanted
    return Drafted(problems=problems[:wanted], prompts=prompts[:wanted], calls=calls, parsed=parsed, dropped=dropped, unreadable=unreadable)


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def draft_by_skill(
    teacher: Generates,
    seeds: Sequence[Problem],
    *,
    wanted: int,
    task: str,
    description: str,
    dialect: Dialect,
    sampling: Sampling,
    rng: Callable[[str], random.Random],
    teacher_id: str,
    seeds_per_prompt: int = 3,
    items_per_call: int = 5,
    patience: float = 4.0,
    known: Sequence[Problem] = (),
    refuse: Refuse = none_refused,
) -> Drafted:
    """`wanted` questions for each skill of the seeds.

    `patience` bounds the calls per skill: that many times what a perfect writer needs.
    """
    groups = by_skill(seeds)
    parts = []
    for index, (skill, mine) in enumerate(groups.items()):
        parts.append(
            draft_questions(
                teacher,
                mine,
                wanted=wanted,
                task=skill or task,
                description=description,
                dialect=dialect,
                # Skills may share wording; their noise must not be shared.
                sampling=replace(sampling, seed=None if sampling.seed is None else sampling.seed + 1_000_003 * index),
                rng=rng(skill),
                teacher_id=teacher_id,
                seeds_per_prompt=seeds_per_prompt,
                items_per_call=items_per_call,
                calls_at_most=math.ceil(patience * wanted / items_per_call) + 1,
                known=[p for p in known if p.skill == skill],
                refuse=refuse,
            )
        )
    dropped: dict[str, int] = {}
    for part in parts:
        for reason, count in part.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    return Drafted(
        problems=[p for part in parts for p in part.problems],
        prompts=[p for part in parts for p in part.prompts],
        calls=sum(part.calls for part in parts),
        parsed=sum(part.parsed for part in parts),
        dropped=dropped,
        unreadable=next((part.unreadable for part in parts if part.unreadable), ""),
    )
