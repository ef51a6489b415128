"""Rewards for rollouts that need no model. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tutelage.errors import SettingsError
from tutelage.hashing import content_id
from tutelage.records import Problem, Verdict
from tutelage.train.sources import Rollout


class Checked:
    """What a verifier says of each rollout's text: the verifiable reward of reasoning tasks.

    `problems` stand in the order of the source's prompts; `by` names the verifier in the fit's key, a task and its version for example.
    A text that no answer can be read from gets what the verifier gives it, usually 0; `unparsed` counts them.
    """

    def __init__(self, problems: Sequence[Problem], *, verify: Callable[[Problem, str], Verdict], by: str) -> None:
        if not by:
            raise SettingsError("a verifiable reward needs the name of its verifier for the fit's key", got=by)
        self.problems, self._verify, self._by = tuple(problems), verify, by
        self.asked = self.unparsed = 0

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        verdicts = [self._verify(self.problems[r.place], r.text) for r in rollouts]
        self.asked += len(verdicts)
        self.unparsed += sum(not v.parsed for v in verdicts)
        return [v.score for v in verdicts]

    def describe(self) -> dict[str, Any]:
        return {"checked": content_id([p.id for p in self.problems]), "by": self._by}
