"""A reward model as recipes use it: it rates replies, chooses among them, judges solutions, and rewards rollouts (`train.Rated`).

Two kinds behind one face. A scalar one reads prompt and reply. One that writes is first asked for critiques of the reply, then rates what
it has written; the reward is the mean over its critiques.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tutelage.capabilities import Completion, ModelFacts, Sampling
from tutelage.errors import CapabilityError, SettingsError
from tutelage.prompts.critics import render_judged, without_score
from tutelage.prompts.dialects import DIALECTS
from tutelage.records import Origin, Problem, Prompt, Verdict
from tutelage.verify.judge import Preference

CRITIQUE_TOKENS = 512
"""Longest critique, where nothing else is said."""


class Model(Protocol):
    """What a role or a back end offers."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]: ...
    def reward(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """The reward of one reply, with what it rests on."""

    value: float | None
    """None where nothing could be rated: unscored is not zero."""
    critiques: tuple[str, ...] = ()
    parts: tuple[float, ...] = ()
    """The reward behind each critique that could be rated."""


class RewardModel:
    """`model` with `facts`; `sampling` says how critiques are drawn, its `n` how many are averaged over. A scalar model needs none."""

    def __init__(
        self, model: Any, facts: ModelFacts, *, model_id: str, sampling: Sampling | None = None, render: Any = None, critic: Any = None
    ) -> None:
        """`render` turns a problem into the prompt that its solutions answer, for judging them. `critic` writes the critiques in the place
        of the model itself."""
        if "reward" not in facts.capabilities:
            raise CapabilityError(
                "model gives no reward",
                got=f"{model_id}, which can {', '.join(sorted(facts.capabilities)) or 'nothing'}",
                fix="train one with bradley_terry (head=class, classes=1) or critique_bradley_terry",
            )
        self._model: Model = model
        self._critic: Model = critic or model
        self._id, self._render = model_id, render
        self.writes = "generate" in facts.capabilities
        self._dialect = DIALECTS[facts.dialect]
        self._sampling = sampling or Sampling(max_tokens=CRITIQUE_TOKENS, stop=self._dialect.solution_stop)

    def describe(self) -> dict[str, Any]:
        """What stands for it in the key of a fit."""
        s = self._sampling
        drawn = [s.max_tokens, s.temperature, s.top_p, s.n, list(s.stop), s.seed] if self.writes else None
        return {"reward model": self._id, "critiques": drawn}

    def ratings(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[Rating]:
        """One per reply, in order."""
        if not self.writes:
            found = self._model.reward(prompts, replies)
            return [Rating(value=value, parts=() if value is None else (value,)) for value in found]
        asked = [render_judged(self._dialect, asked=p, response=r) for p, r in zip(prompts, replies, strict=True)]
        written = [
            [without_score(self._dialect, c.text) for c in group if c.finish not in ("error", "refusal")]
            for group in self._critic.generate(asked, self._sampling)
        ]
        flat = iter(
            self._model.reward(
                [p for p, texts in zip(asked, written, strict=True) for _ in texts], [text for texts in written for text in texts]
            )
        )
        ratings: list[Rating] = []
        for texts in written:
            parts = tuple(value for value in (next(flat) for _ in texts) if value is not None)
            ratings.append(Rating(value=sum(parts) / len(parts) if parts else None, critiques=tuple(texts), parts=parts))
        return ratings

    def rate(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float | None]:
        """The rewards alone."""
        return [rating.value for rating in self.ratings(prompts, replies)]

    def best(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[int | None]:
        """Best of n: for each prompt the place of its best reply; the first of equals, None where none could be rated."""
        flat = iter(self.rate([p for p, group in zip(prompts, groups, strict=True) for _ in group], [r for group in groups for r in group]))
        places: list[int | None] = []
        for group in groups:
            values = [next(flat) for _ in group]
            rated = [(value, -place) for place, value in enumerate(values) if value is not None]
            places.append(-max(rated)[1] if rated else None)
        return places

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """As a verifier: see `mark`."""
        return self.mark([problem], [text])[0]

    def mark(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """The rewards squashed into [0, 1] by the logistic function, as a judge marks; unparsed where there is none. Nothing is right by a
        mark alone."""
        verdicts = []
        for rating in self.ratings(self._asked(problems), texts):
            origin = Origin(step="reward", model=self._id)
            if rating.value is None:
                verdicts.append(Verdict(score=0.0, parsed=False, reason="the reward model could not read it", origin=origin))
                continue
            score = min(0.5 * (1 + math.tanh(rating.value / 2)), 1 - 1e-9)
            verdicts.append(Verdict(score=score, extracted=f"{rating.value:.6g}", reason="; ".join(rating.critiques)[:500], origin=origin))
        return verdicts

    def choose(self, problems: Sequence[Problem], firsts: Sequence[str], seconds: Sequence[str]) -> list[Preference]:
        """As `verify.judge.Judge.choose`; a reward knows no order, so both orders always agree."""
        asked = self._asked(problems)
        found = []
        for one, other in zip(self.rate(asked, firsts), self.rate(asked, seconds), strict=True):
            if one is None or other is None:
                found.append(Preference(winner=None, agreed=False, parsed=False, reason="one of the two replies could not be rated"))
                continue
            found.append(Preference(winner=None if one == other else int(other > one), agreed=True, reason=f"{one:.4g} and {other:.4g}"))
        return found

    def _asked(self, problems: Sequence[Problem]) -> list[Prompt]:
        if self._render is None:
            raise SettingsError("a reward model needs to know how problems are asked before it can judge", fix="pass render=wording.plain")
        return [self._render(p) for p in problems]
