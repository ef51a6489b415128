"""Ways of deciding what to teach next. Each is a value with a `plan`; where one remembers, `start` forgets.

The structure levels of DataEnvGym (Khan et al. 2024): no state, open-ended (errors), skill list (error rates), skill tree (a growing set of
subskills per skill). `LookAlikes` is LLM2LLM (Lee et al. 2024) as a policy, `Nothing` the student that gets no new row.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

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
DRAWS = 20
"""Times that an order's solved problems are drawn until no other order of the plan shows the same ones in the same places."""


def name_nothing(skill: str, shown: Sequence[Solution], known: Sequence[str], count: int, round_: int) -> list[str]:
    """For teachers that can only go on: nothing is named."""
    return []


Shown = set[tuple[str, ...]]
"""What the orders of one plan show so far, by id and in order."""


def _unlike(
    pool: Sequence[Solution], wanted: int, *, rng: random.Random, taken: Shown, last: Sequence[Solution] = ()
) -> tuple[Solution, ...]:
    """`wanted` of the pool, then `last`, as no earlier order of the plan shows them while there is another way.

    The same prompt twice in a plan would bring the same reply twice: noise depends on the prompt, and equal requests are asked once."""
    shown: tuple[Solution, ...] = ()
    for _ in range(DRAWS):
        shown = (*rng.sample(list(pool), k=min(wanted, len(pool))), *last)
        if tuple(x.id for x in shown) not in taken:
            break
    taken.add(tuple(x.id for x in shown))
    return shown


def _orders(
    seen: Observation, skill: str, rows: int, *, per_order: int, rng: random.Random, errors: bool, focus: Sequence[str], taken: Shown
) -> list[Order]:
    """`rows` of one skill, in orders of at most `per_order`, each after other solved problems and errors of the skill."""
    seeds = [x for x in seen.seed if x.problem.skill == skill]
    wrong = [x.problem for x in seen.errors if x.problem.skill == skill] if errors else []
    orders = []
    for i, start in enumerate(range(0, rows, per_order)):
        shown = _unlike(seeds, SHOWN, rng=rng, taken=taken)
        missed = rng.sample(wrong, k=min(SHOWN, len(wrong)))
        orders.append(
            Order(
                skill=skill,
                wanted=min(per_order, rows - start),
                shown=shown,
                missed=tuple(missed),
                focus=focus[i % len(focus)] if focus else "",
            )
        )
    return orders


def _dealt(seen: Observation, skills: Sequence[str], rows: int, *, per_order: int, rng: random.Random, errors: bool) -> list[Order]:
    """`rows` in all, each order of a skill drawn from `skills`."""
    given: dict[str, Any] = dict(per_order=per_order, rng=rng, errors=errors, focus=(), taken=set())
    return [
        order for start in range(0, rows, per_order) for order in _orders(seen, rng.choice(skills), min(per_order, rows - start), **given)
    ]


@dataclass(kw_only=True)
class Nothing:
    """No new row, ever: the student stays at what it was taught before the first round."""

    def start(self) -> None:
        pass

    def plan(self, seen: Observation) -> Sequence[Order]:
        return ()


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
        taken: Shown = set()
        for skill, rows in zip(seen.skills, shares, strict=True):
            wrong = [x for x in seen.errors if x.problem.skill == skill]
            focus = self.name(skill, wrong, (), self.hypotheses, seen.round) if rows and wrong else ()
            orders += _orders(seen, skill, rows, per_order=self.per_order, rng=rng, errors=True, focus=focus, taken=taken)
        return orders


@dataclass(kw_only=True)
class _Part:
    """A leaf of a skill tree: what it is called, and the solved problem that stands for it."""

    name: str
    model: Solution
    rows: int = 0


@dataclass(kw_only=True)
class Alternating:
    """Skill tree: explore (new parts of every skill) and exploit (more rows for the known parts) in turn.

    A part is named by the teacher where it can name any, and modelled on a seed problem that no part was modelled on so far. Every order
    of a part shows that problem after others of the skill, others each time. A tree that has `tree_rows` rows is finished; the rows of a
    step go to the trees that are not. `gained` holds the reward of every action.
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
        taken: Shown = set()
        for skill, rows in zip(growing, apportion(self.rows, [1.0] * len(growing)), strict=True):
            seeds = [x for x in seen.seed if x.problem.skill == skill]
            for part, share in self._allotted(seen, skill, self.trees.setdefault(skill, []), rows, rng):
                part.rows += share
                others = [x for x in seeds if x.id != part.model.id]
                orders += [
                    Order(
                        skill=skill,
                        wanted=min(self.per_order, share - start),
                        shown=_unlike(others, SHOWN - 1, rng=rng, taken=taken, last=(part.model,)),
                        focus=part.name,
                    )
                    for start in range(0, share, self.per_order)
                ]
        return orders

    def _allotted(self, seen: Observation, skill: str, tree: list[_Part], rows: int, rng: random.Random) -> Sequence[tuple[_Part, int]]:
        """The parts that get rows in this step, with their shares; new ones are added to the tree."""
        parts = self._explored(seen, skill, tree, rng, self.new_parts) if seen.round % 2 == 0 else []
        return _evenly(parts or tree, rows)

    def _explored(self, seen: Observation, skill: str, tree: list[_Part], rng: random.Random, wanted: int) -> list[_Part]:
        seeds = [x for x in seen.seed if x.problem.skill == skill]
        used = {p.model.id for p in tree}
        fresh = [x for x in seeds if x.id not in used] or seeds
        models = rng.sample(fresh, k=min(wanted, len(fresh)))
        names = list(self.name(skill, models, [p.name for p in tree], wanted, seen.round))
        parts = [_Part(name=names[i] if i < len(names) else "", model=model) for i, model in enumerate(models)]
        tree += parts
        return parts


def _evenly(parts: Sequence[_Part], rows: int) -> list[tuple[_Part, int]]:
    return list(zip(parts, apportion(rows, [1.0] * len(parts)), strict=True))


@dataclass(kw_only=True)
class BalancedFill(Alternating):
    """Skill tree: explore until a tree has `most_parts`, then rows for those with the fewest, until each has its share of `tree_rows`."""

    most_parts: int = 4

    def _allotted(self, seen: Observation, skill: str, tree: list[_Part], rows: int, rng: random.Random) -> Sequence[tuple[_Part, int]]:
        if len(tree) < self.most_parts:
            return _evenly(self._explored(seen, skill, tree, rng, min(self.new_parts, self.most_parts - len(tree))), rows)
        filled = [part.rows for part in tree]
        for _ in range(min(rows, self.tree_rows - sum(filled))):
            filled[filled.index(min(filled))] += 1
        return [(part, level - part.rows) for part, level in zip(tree, filled, strict=True)]


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
