"""Ways of deciding what to teach next. Each is a value with a `plan`; where one remembers, `start` forgets.

The structure levels of DataEnvGym (Khan et al. 2024): no state, open-ended (errors), skill list (error rates), skill tree (a growing set of
subskills per skill). `LookAlikes` is LLM2LLM (Lee et al. 2024) as a policy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tutelage.classroom.environment import Observation
from tutelage.generate.practice import Order
from tutelage.records import Solution
from tutelage.rounds import dealt
from tutelage.select.balance import apportion

Draw = Callable[[int], random.Random]
"""Round -> its stream."""
Name = Callable[[str, Sequence[Solution], Sequence[str], int, int], Sequence[str]]
"""(skill, errors or seed problems, names so far, how many, round) -> names of weaknesses or parts; may be empty."""

SHOWN = 3
"""Solved problems, and errors, that one call shows (released open-ended agent)."""


def name_nothing(skill: str, shown: Sequence[Solution], known: Sequence[str], count: int, round_: int) -> list[str]:
    """For teachers that can only go on: nothing is named."""
    return []


def _orders(
    seen: Observation, skill: str, rows: int, *, per_order: int, rng: random.Random, errors: bool, focus: Sequence[str]
) -> list[Order]:
    """`rows` of one skill, in orders of at most `per_order`, each after other solved problems and errors of the skill."""
    seeds = [x for x in seen.seed if x.problem.skill == skill]
    wrong = [x.problem for x in seen.errors if x.problem.skill == skill] if errors else []
    orders = []
    for i, start in enumerate(range(0, rows, per_order)):
        shown = rng.sample(seeds, k=min(SHOWN, len(seeds)))
        missed = rng.sample(wrong, k=min(SHOWN, len(wrong)))
        orders.append(
            Order(
                skill=skill,
                wanted=min(per_order, rows - start),
                shown=tuple(shown),
                missed=tuple(missed),
                focus=focus[i % len(focus)] if focus else "",
            )
        )
    return orders


def _dealt(seen: Observation, skills: Sequence[str], rows: int, *, per_order: int, rng: random.Random, errors: bool) -> list[Order]:
    """`rows` in all, each order of a skill drawn from `skills`."""
    return [
        order
        for start in range(0, rows, per_order)
        for order in _orders(seen, rng.choice(skills), min(per_order, rows - start), per_order=per_order, rng=rng, errors=errors, focus=())
    ]


@dataclass(kw_only=True)
class Random:
    """No state: rows of a random skill each, after random solved problems."""

    rows: int
    per_order: int
    draw: Draw

    def start(self) -> None:
        pass

    def plan(self, seen: Observation) -> Sequence[Order]:
        rng = self.draw(seen.round)
        return _dealt(seen, seen.skills, self.rows, per_order=self.per_order, rng=rng, errors=False)


@dataclass(kw_only=True)
class WeakestErrors:
    """Open-ended: every order is for the skill of a random error, and shows errors of it. Without errors, as `Random`."""

    rows: int
    per_order: int
    draw: Draw

    def start(self) -> None:
        pass

    def plan(self, seen: Observation) -> Sequence[Order]:
        rng = self.draw(seen.round)
        skills = [x.problem.skill for x in seen.errors if x.problem.skill in seen.skills] or list(seen.skills)
        return _dealt(seen, skills, self.rows, per_order=self.per_order, rng=rng, errors=True)


@dataclass(kw_only=True)
class SkillList:
    """Rows in proportion to the error rate of each skill, with hypotheses about what is lacking where the teacher can name any."""

    rows: int
    per_order: int
    draw: Draw
    name: Name = name_nothing
    hypotheses: int = 10

    def start(self) -> None:
        pass

    def plan(self, seen: Observation) -> Sequence[Order]:
        rng = self.draw(seen.round)
        accuracy = seen.by_skill
        shares = apportion(self.rows, [1 - accuracy.get(skill, 0.0) for skill in seen.skills])
        orders: list[Order] = []
        for skill, rows in zip(seen.skills, shares, strict=True):
            wrong = [x for x in seen.errors if x.problem.skill == skill]
            focus = self.name(skill, wrong, (), self.hypotheses, seen.round) if rows and wrong else ()
            orders += _orders(seen, skill, rows, per_order=self.per_order, rng=rng, errors=True, focus=focus)
        return orders


@dataclass(kw_only=True)
class _Part:
    """A leaf of a skill tree: what it is called, and the solved problem that stands for it."""

    name: str
    model: Solution
    rows: int = 0


@dataclass(kw_only=True)
class Alternating:
    """Skill tree: explore (new parts of every skill, `each` rows per part) and exploit (more rows for the known parts) in turn.

    A part is named by the teacher where it can name any, and modelled on a seed problem that no part was modelled on so far. A tree that
    has `tree_rows` rows is finished; the rows of a step go to the trees that are not. `gained` holds the reward of every action.
    """

    rows: int
    per_order: int
    draw: Draw
    name: Name = name_nothing
    new_parts: int = 2
    tree_rows: int = 200
    trees: dict[str, list[_Part]] = field(default_factory=dict)
    gained: list[dict[str, float]] = field(default_factory=list)
    _before: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        self.trees, self.gained, self._before = {}, [], {}

    def plan(self, seen: Observation) -> Sequence[Order]:
        rng, accuracy = self.draw(seen.round), seen.by_skill
        if self._before:
            self.gained.append({skill: accuracy[skill] - self._before[skill] for skill in accuracy})
        self._before = accuracy
        growing = [skill for skill in seen.skills if sum(p.rows for p in self.trees.get(skill, ())) < self.tree_rows]
        orders: list[Order] = []
        for skill, rows in zip(growing, apportion(self.rows, [1.0] * len(growing)), strict=True):
            tree = self.trees.setdefault(skill, [])
            parts = self._explored(seen, skill, tree, rng) if seen.round % 2 == 0 else []
            tree += parts
            chosen = parts or tree
            for part, share in zip(chosen, apportion(rows, [1.0] * len(chosen)), strict=True):
                part.rows += share
                orders += [
                    Order(skill=skill, wanted=min(self.per_order, share - start), shown=(part.model,), focus=part.name)
                    for start in range(0, share, self.per_order)
                ]
        return orders

    def _explored(self, seen: Observation, skill: str, tree: Sequence[_Part], rng: random.Random) -> list[_Part]:
        seeds = [x for x in seen.seed if x.problem.skill == skill]
        used = {p.model.id for p in tree}
        fresh = [x for x in seeds if x.id not in used] or seeds
        models = rng.sample(fresh, k=min(self.new_parts, len(fresh)))
        names = list(self.name(skill, models, [p.name for p in tree], self.new_parts, seen.round))
        return [_Part(name=names[i] if i < len(names) else "", model=model) for i, model in enumerate(models)]


@dataclass(kw_only=True)
class LookAlikes:
    """LLM2LLM: `each` rows like every seed problem that the student misses, or `rows` dealt out over them in turn; nothing without any."""

    draw: Draw
    rows: int = 0
    each: int = 1

    def start(self) -> None:
        pass

    def plan(self, seen: Observation) -> Sequence[Order]:
        places = seen.missed
        shares = dealt(self.rows, places, rng=self.draw(seen.round)) if self.rows else dict.fromkeys(places, self.each)
        return [Order(skill=seen.seed[place].problem.skill, wanted=count, shown=(seen.seed[place],)) for place, count in shares.items()]
