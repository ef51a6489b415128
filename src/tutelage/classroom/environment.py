"""The classroom: rows in, student trained from its base on all rows so far, observation out.

Khan, Stengel-Eskin, Cho, Bansal 2024 (DataEnvGym, arXiv 2410.06215). The validation problems are the state that a policy acts on and the
best round is chosen by, so no accuracy on them is a result: a curve over rounds is read from the held-back problems, which no policy sees,
and what an episode is worth is measured on test problems, afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from typing import Generic, Protocol, TypeVar

from tutelage import rounds
from tutelage.errors import SettingsError
from tutelage.generate.practice import Order
from tutelage.generate.questions import Refuse, none_refused
from tutelage.lab import Lab, Role
from tutelage.records import Problem, Solution
from tutelage.select.novelty import Novelty
from tutelage.train import FitSettings

S = TypeVar("S")
"""The student: a role of a lab, or whatever `train` makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """How the student does after a round, answer by answer."""

    round: int
    """0 before anything was taught."""
    answers: tuple[Solution, ...]
    """The student's answer to every validation problem."""
    right: tuple[bool, ...]
    """Which of them are right."""
    seed: tuple[Solution, ...]
    """The labelled problems that new rows may be modelled on, with their solutions."""
    seed_right: tuple[bool, ...]
    """Which of them the student answers rightly."""
    rows: tuple[Solution, ...]
    """All that the student was taught so far."""

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right) if self.right else 0.0

    @property
    def by_skill(self) -> dict[str, float]:
        """Accuracy per skill of the validation problems."""
        found: dict[str, list[bool]] = {}
        for answer, right in zip(self.answers, self.right, strict=True):
            found.setdefault(answer.problem.skill, []).append(right)
        return {skill: sum(rights) / len(rights) for skill, rights in found.items()}

    @property
    def errors(self) -> list[Solution]:
        """The wrong answers to validation problems."""
        return [answer for answer, right in zip(self.answers, self.right, strict=True) if not right]

    @property
    def missed(self) -> list[int]:
        """Places of the seed problems that the student gets wrong."""
        return [place for place, right in enumerate(self.seed_right) if not right]

    @property
    def skills(self) -> tuple[str, ...]:
        """Those that rows can be ordered for: the seed's, in order of first appearance."""
        return tuple(dict.fromkeys(x.problem.skill for x in self.seed))


class Policy(Protocol):
    """What to teach next: orders that an engine turns into rows. May remember earlier rounds; `start` forgets them."""

    def start(self) -> None: ...

    def plan(self, seen: Observation) -> Sequence[Order]: ...


Engine = Callable[[Sequence[Order], int], Sequence[Solution]]
"""(orders, round) -> rows."""


class Classroom(Generic[S]):
    """`reset` forgets all rows; `step` adds rows, trains a student from the base on all of them and asks it anew.

    Rows that give away a validation or test question are left out and counted in `refused`. Nothing is random here: the same rows in the
    same order give the same observations.
    """

    def __init__(
        self,
        *,
        base: S,
        train: Callable[[S, Sequence[Solution]], S],
        answer: Callable[[S, Sequence[Problem]], Sequence[Solution]],
        is_right: Callable[[Solution], bool],
        validation: Sequence[Problem],
        seed: Sequence[Solution],
        rounds_at_most: int,
        rows_at_most: int,
        held_back: Sequence[Problem] = (),
        refuse: Refuse = none_refused,
        start_from_seed: bool = False,
    ) -> None:
        """`train` gets the base and all rows; `start_from_seed` puts the seed among them from the beginning. An episode ends after
        `rounds_at_most` steps, with `rows_at_most` new rows, or when every validation problem is right. `held_back` are asked too, and
        shown to nobody."""
        if rounds_at_most < 1 or rows_at_most < 1:
            raise SettingsError("a classroom needs rounds and rows of at least 1", got=f"{rounds_at_most}, {rows_at_most}")
        if not validation or not seed:
            raise SettingsError("a classroom needs validation and seed problems", got=f"{len(validation)}, {len(seed)}")
        if {p.text for p in held_back} & {p.text for p in validation}:
            raise SettingsError("held-back problems are not those that the policy sees", fix="take them from other rows")
        self._base, self._train, self._answer, self._is_right, self._refuse = base, train, answer, is_right, refuse
        self._validation, self._seed, self._held_back = tuple(validation), tuple(seed), tuple(held_back)
        self._first = self._seed if start_from_seed else ()
        self._rounds_at_most, self._rows_at_most = rounds_at_most, rows_at_most
        self.refused: dict[str, int] = {}
        """Rows left out since the last reset, by reason."""
        self.curve: list[float] = []
        """Accuracy on the held-back problems at the reset and after every step since; empty without any. In no observation."""
        self.student: S = base
        self.last: Observation | None = None
        """The latest observation; None before the first reset."""

    def reset(self) -> Observation:
        """The student without any new row."""
        self.refused, self.curve = {}, []
        return self._observe(0, self._first)

    def step(self, rows: Sequence[Solution]) -> Observation:
        """The student after these rows too; with no rows it is asked again as it is."""
        if self.last is None:
            raise SettingsError("a classroom begins with reset", fix="call reset() before step()")
        clean = []
        for row, reason in zip(rows, self._refuse([row.problem.text for row in rows]), strict=True):
            if reason is None:
                clean.append(row)
            else:
                self.refused[reason] = self.refused.get(reason, 0) + 1
        return self._observe(self.last.round + 1, (*self.last.rows, *clean))

    @property
    def done(self) -> bool:
        """Every validation problem is right."""
        return self.last is not None and all(self.last.right)

    @property
    def spent(self) -> bool:
        """The rounds or the rows of an episode are used up."""
        last = self.last
        return last is not None and (last.round >= self._rounds_at_most or len(last.rows) - len(self._first) >= self._rows_at_most)

    @property
    def base(self) -> S:
        return self._base

    def _observe(self, round_: int, rows: tuple[Solution, ...]) -> Observation:
        self.student = self._train(self._base, rows) if rows else self._base
        answers = tuple(self._answer(self.student, self._validation))
        seed_answers = self._answer(self.student, [x.problem for x in self._seed])
        if self._held_back:
            self.curve.append(sum(map(self._is_right, self._answer(self.student, self._held_back))) / len(self._held_back))
        self.last = Observation(
            round=round_,
            answers=answers,
            right=tuple(map(self._is_right, answers)),
            seed=self._seed,
            seed_right=tuple(map(self._is_right, seed_answers)),
            rows=rows,
        )
        return self.last


def open_classroom(
    lab: Lab,
    *,
    seed: Sequence[Solution],
    validation: Sequence[Problem],
    sft: FitSettings,
    max_tokens: int,
    rounds_at_most: int,
    rows_at_most: int,
    held_back: Sequence[Problem] = (),
    start_from_seed: bool = False,
) -> Classroom[Role]:
    """The classroom of a run: its student is the base."""
    return Classroom(
        base=lab.student,
        train=lambda base, rows: rounds.train_on(lab, base, rows, settings=sft),
        answer=lambda student, problems: rounds.answers_of(lab, student, problems, max_tokens=max_tokens, step="classroom"),
        is_right=lambda answer: rounds.is_right(lab, answer),
        validation=validation,
        seed=seed,
        rounds_at_most=rounds_at_most,
        rows_at_most=rows_at_most,
        held_back=held_back,
        refuse=lab.leaks,
        start_from_seed=start_from_seed,
    )


def teacher_engine(
    lab: Lab,
    teacher: Role,
    *,
    seed: Sequence[Solution],
    ask: rounds.Ask,
    name: str,
    temperature: float,
    max_tokens: int,
    tries: int,
    most_per_call: int,
    most_alike: float,
) -> Engine:
    """Orders filled by a teacher. It remembers what it wrote: open another one for another episode."""
    new_to = Novelty((x.problem.text for x in seed), most=most_alike)
    written: list[Solution] = []

    def write(orders: Sequence[Order], round_: int) -> list[Solution]:
        new = rounds.write_practice(
            lab,
            teacher,
            orders,
            is_new=new_to.take,
            temperature=temperature,
            max_tokens=max_tokens,
            tries=tries,
            most_per_call=most_per_call,
            step=f"{name} {round_}",
            ask=ask,
            so_far=len(written),
        ).solutions
        written.extend(new)
        return new

    return write


def repeating_engine(seed: Sequence[Solution]) -> Engine:
    """The seed's own rows over and over, whatever was ordered: what more passes over them would bring. Remembers where it stopped."""
    rows = cycle(seed)

    def repeat(orders: Sequence[Order], round_: int) -> list[Solution]:
        return list(islice(rows, sum(order.wanted for order in orders)))

    return repeat


def stored_engine(rows: Sequence[Solution], *, rng: random.Random) -> Engine:
    """Rows that there are already, in a drawn order and each once, whatever was ordered; fewer than wanted once they run out."""
    left = iter(rng.sample(list(rows), k=len(rows)))

    def hand_out(orders: Sequence[Order], round_: int) -> list[Solution]:
        return list(islice(left, sum(order.wanted for order in orders)))

    return hand_out


def run_episode(
    room: Classroom[S], policy: Policy, engine: Engine, *, altered: Callable[[Observation], Observation] | None = None
) -> list[Observation]:
    """One life of a classroom under a policy: every observation, in order. `altered` changes what the policy is shown, not what is."""
    policy.start()
    history = [room.reset()]
    while not room.done and not room.spent:
        seen = altered(history[-1]) if altered else history[-1]
        orders = [o for o in policy.plan(seen) if o.wanted > 0]
        history.append(room.step(engine(orders, seen.round)))
    return history


def best_round(history: Sequence[Observation]) -> Observation:
    """The observation with the highest validation accuracy, the earliest of equals."""
    return max(history, key=lambda seen: (seen.accuracy, -seen.round))


def area(curve: Sequence[float], *, rounds_at_most: int) -> float:
    """Mean of the values after the first, which is that before any new row; an episode that ended early stays where it ended."""
    if not curve:
        raise SettingsError("a mean over rounds needs the value of at least one", got=0)
    after = list(curve[1:]) or [curve[0]]
    after += [after[-1]] * (rounds_at_most - len(after))
    return sum(after) / len(after)


def gains(history: Sequence[Observation]) -> list[Mapping[str, float]]:
    """Per step and skill, accuracy after minus before: the reward of a tree."""
    return [{skill: after.by_skill[skill] - before.by_skill[skill] for skill in after.by_skill} for before, after in pairwise(history)]
