"""Rewards of rollouts, by a verifier or a reward model, and marks that follow from them. Torch-free; what asks a model in training opens
it when the fit starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tutelage.errors import SettingsError
from tutelage.hashing import content_id
from tutelage.records import Problem, Prompt, Verdict
from tutelage.train.readings import Scorer
from tutelage.train.sources import Facts, Reward, Rollout, identity_of
from tutelage.train.targets import Asking, Sampled

if TYPE_CHECKING:
    from tutelage.train.feeds import Site

IMITATED = "imitated"
"""The mark of the tokens that a teacher is to be imitated on."""


class Checked:
    """What a verifier says of each rollout's text: the verifiable reward of reasoning tasks.

    `problems` stand in the order of the source's prompts; `by` names the verifier in the fit's key, a task and its version for example.
    A text that no answer can be read from gets what the verifier gives it, usually 0; `unparsed` counts them. `ended`: a text that was cut
    off gets 0 whatever stands in it.
    """

    def __init__(self, problems: Sequence[Problem], *, verify: Callable[[Problem, str], Verdict], by: str, ended: bool = False) -> None:
        if not by:
            raise SettingsError("a verifiable reward needs the name of its verifier for the fit's key", got=by)
        self.problems, self._verify, self._by, self._ended = tuple(problems), verify, by, ended
        self.asked = self.unparsed = 0

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        verdicts = [self._verify(self.problems[r.place], r.text) for r in rollouts]
        self.asked += len(verdicts)
        self.unparsed += sum(not v.parsed for v in verdicts)
        return [0.0 if self._ended and r.finish != "stop" else v.score for r, v in zip(rollouts, verdicts, strict=True)]

    def describe(self) -> dict[str, Any]:
        body = {"checked": content_id([p.id for p in self.problems]), "by": self._by}
        return body | ({"ended": True} if self._ended else {})  # so that fits without it keep their keys


class Staked:
    """A scoring rule on the confidence that each rollout states in its own answer.

    `read` gives a text's answer part, which is verified, and its confidence in [0, 1], None where it states none (reward `missing`).
    `by` names verifier and reader in the fit's key. `deal`: the answer of another prompt's rollout decides what was right.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        *,
        verify: Callable[[Problem, str], Verdict],
        read: Callable[[str], tuple[str, float | None]],
        rule: Callable[[float, float], float],
        by: str,
        missing: float = -1.0,
        deal: bool = False,
    ) -> None:
        if not by:
            raise SettingsError("a reward on stated confidence needs the name of its verifier for the fit's key", got=by)
        self.problems, self._verify, self._read, self._rule = tuple(problems), verify, read, rule
        self._by, self._missing, self._deal = by, missing, deal

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        stated = [self._read(r.text) for r in rollouts]
        right = [float(self._verify(self.problems[r.place], text).right) for r, (text, _) in zip(rollouts, stated, strict=True)]
        if self._deal:
            turn = len(right) // 2
            right = [*right[turn:], *right[:turn]]
        return [self._missing if sure is None else self._rule(sure, c) for (_, sure), c in zip(stated, right, strict=True)]

    def describe(self) -> dict[str, Any]:
        rule = identity_of(self._rule)
        return {
            "staked": content_id([p.id for p in self.problems]),
            "by": self._by,
            "rule": rule,
            "missing": self._missing,
            "deal": self._deal,
        }


class Near:
    """Another reward plus `weight` times the mean over a rollout's tokens of log p(token) under the teacher minus under the student that
    drew it: imitation by the shape of the reward."""

    def __init__(self, reward: Reward, teacher: Any, *, weight: float, asked: Asking | None = None) -> None:
        self.reward, self.weight, self.teacher = reward, weight, Sampled(teacher, asked=asked)

    def describe(self) -> dict[str, Any]:
        return {"near": self.teacher.describe(), "weight": self.weight, "reward": identity_of(self.reward)}

    @property
    def reads(self) -> tuple[Scorer, int]:
        return self.teacher.scorers[0], 1

    def open(self, site: Site) -> Reward:
        from tutelage.train.nearness import Nearness

        return Nearness(self, site)


def where_wrong(rollouts: Sequence[Rollout]) -> list[Facts]:
    """Imitate in rollouts that are not right: a mask by response."""
    return [{IMITATED: float(r.reward < 1.0)} for r in rollouts]


def where_none_is_right(rollouts: Sequence[Rollout]) -> list[Facts]:
    """Imitate where no rollout of the prompt is right: a mask by group."""
    return [{IMITATED: float(all(r.reward < 1.0 for r in rollouts))}] * len(rollouts)


class Rates(Protocol):
    """What rates replies, such as a `signals.reward.RewardModel`."""

    def rate(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float | None]: ...


class Known(Rates, Protocol):
    """One that has an identity for the key of a fit."""

    def describe(self) -> dict[str, Any]: ...


class Rated:
    """What a reward model says of each rollout's text under its prompt. A reply that it cannot rate (longer than its context) gets the
    lowest reward of the call, so that running on never pays; `unrated` counts them."""

    def __init__(self, rater: Known) -> None:
        self._rater = rater
        self.asked = self.unrated = 0

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        found = self._rater.rate([r.prompt for r in rollouts], [r.text for r in rollouts])
        self.asked += len(found)
        self.unrated += sum(value is None for value in found)
        lowest = min((value for value in found if value is not None), default=0.0)
        return [lowest if value is None else value for value in found]

    def describe(self) -> dict[str, Any]:
        return {"rated": self._rater.describe()}
