"""A language model as judge: a mark for one reply, a choice between two asked in both orders, or a rubric of yes-or-no criteria.

The reply of a judge is parsed strictly. What cannot be read is unparsed, a refusal is counted apart, and neither becomes a mark. Calls go
through whatever implements `Generates`, so they are cached, counted and budgeted like any other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tutelage.capabilities import Completion, Generates, Sampling
from tutelage.errors import SettingsError
from tutelage.prompts.judging import parse_choice, parse_criteria, parse_mark, render_choice, render_criteria, render_mark
from tutelage.records import Problem, Prompt, Verdict

_REFUSAL = re.compile(
    r"^\W*(?:i(?:'m| am) (?:sorry|unable|not able)|sorry,? (?:but )?i|i (?:can(?:'|no)t|won't|must decline|will not)|as an ai\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What a judge says of two replies."""

    winner: int | None
    """0 for the first reply, 1 for the second; None for a tie or where the two orders disagree."""
    agreed: bool
    """Whether both orders named the same reply (or both a tie)."""
    parsed: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One line of a rubric."""

    name: str
    asks: str
    """A question that yes answers in the reply's favour."""
    weight: float = 1.0


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the judge's replies."""

    asked: int = 0
    parsed: int = 0
    refused: int = 0
    unparsed: int = 0
    failed: int = 0
    """Calls that ended in an error of the endpoint."""
    flipped: int = 0
    """Choices that changed with the order."""
    by_reason: dict[str, int] = field(default_factory=dict)


class Judge:
    """Asks `model`. `tally` counts over the judge's life."""

    def __init__(self, model: Generates, *, sampling: Sampling | None = None, scale: int = 10) -> None:
        if scale < 2:
            raise SettingsError("a judge's scale needs at least two marks", got=scale)
        if sampling is not None and sampling.n != 1:
            raise SettingsError(
                "a judge is asked once per question", got=f"n={sampling.n}", fix="ask several judges, or the same one with other seeds"
            )
        self._model = model
        self._sampling = sampling or Sampling(max_tokens=512)
        self._scale = scale
        self.tally = Tally()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.mark([problem], [text])[0]

    def mark(self, problems: Sequence[Problem], texts: Sequence[str], *, guide: str = "") -> list[Verdict]:
        """A verdict on each reply: the mark from 1 to `scale`, moved to [0, 1]. `guide` says what a good reply is."""
        prompts = [render_mark(p.text, t, scale=self._scale, reference=p.answer, guide=guide) for p, t in zip(problems, texts, strict=True)]
        verdicts = []
        for reply in self._replies(prompts):
            mark = None if reply is None else parse_mark(reply, scale=self._scale)
            why = self._noted(reply, parsed=mark is not None)
            score = 0.0 if mark is None else (mark - 1) / (self._scale - 1)
            verdicts.append(Verdict(score=score, extracted=None if mark is None else str(mark), parsed=mark is not None, reason=why))
        return verdicts

    def choose(self, problems: Sequence[Problem], firsts: Sequence[str], seconds: Sequence[str], *, guide: str = "") -> list[Preference]:
        """Which of two replies is better, asked in both orders: a winner is one that wins in both."""
        forward = [render_choice(p.text, a, b, guide=guide) for p, a, b in zip(problems, firsts, seconds, strict=True)]
        swapped = [render_choice(p.text, b, a, guide=guide) for p, a, b in zip(problems, firsts, seconds, strict=True)]
        replies = self._replies([*forward, *swapped])
        choices = []
        for reply in replies:
            choice = None if reply is None else parse_choice(reply)
            self._noted(reply, parsed=choice is not None)
            choices.append(choice)
        preferences = []
        for one, other in zip(choices[: len(forward)], choices[len(forward) :], strict=True):
            if one is None or other is None:
                preferences.append(Preference(winner=None, agreed=False, parsed=False, reason="one of the two replies could not be read"))
                continue
            back = {"A": "B", "B": "A"}.get(other, other)
            self.tally.flipped += one != back
            winner = {"A": 0, "B": 1}.get(one) if one == back else None
            preferences.append(Preference(winner=winner, agreed=one == back, reason=f"{one} then {back}"))
        return preferences

    def rubric(self, problems: Sequence[Problem], texts: Sequence[str], criteria: Sequence[Criterion]) -> list[Verdict]:
        """The weighted share of criteria that each reply meets; unparsed unless every criterion was answered."""
        if not criteria or any(one.weight <= 0 for one in criteria) or len({one.name for one in criteria}) != len(criteria):
            raise SettingsError("a rubric needs criteria with different names and weights above 0", got=[one.name for one in criteria])
        asked = [(one.name, one.asks) for one in criteria]
        total = sum(one.weight for one in criteria)
        verdicts = []
        for reply in self._replies([render_criteria(p.text, t, asked) for p, t in zip(problems, texts, strict=True)]):
            met = None if reply is None else parse_criteria(reply, [one.name for one in criteria])
            why = self._noted(reply, parsed=met is not None)
            if met is None:
                verdicts.append(Verdict(score=0.0, parsed=False, reason=why))
                continue
            missed = [one.name for one in criteria if not met[one.name]]
            score = sum(one.weight for one in criteria if met[one.name]) / total
            # All met is right, whatever the sum of the weights rounds to.
            verdicts.append(Verdict(score=1.0 if not missed else score, reason="misses " + ", ".join(missed) if missed else "all met"))
        return verdicts

    def _replies(self, prompts: Sequence[Prompt]) -> list[str | None]:
        """The judge's texts; None where the call failed."""
        completions: list[Completion] = [one[0] for one in self._model.generate(prompts, self._sampling)]
        return [None if c.finish == "error" else "" if c.finish == "refusal" else c.text for c in completions]

    def _noted(self, reply: str | None, *, parsed: bool) -> str:
        self.tally.asked += 1
        if parsed:
            self.tally.parsed += 1
            return "judged"
        if reply is None:
            self.tally.failed += 1
            return "the judge could not be asked"
        if not reply or _REFUSAL.match(reply):
            self.tally.refused += 1
            return "the judge refused"
        self.tally.unparsed += 1
        return "the judge's reply could not be read"
