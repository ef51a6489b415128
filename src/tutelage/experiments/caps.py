"""The share of a budget that one arm under one seed may ask for, whether a model or the cache answers.

The cap of a run's ledger is about spending: what the cache answers is free. A comparison at equal cost needs the other account: an arm
must not profit from answers that another arm has paid for. So this cap counts logical amounts, and never asks for what does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tutelage.capabilities import Completion, Sampling, TokenScores
from tutelage.errors import BudgetExhausted
from tutelage.journal.amounts import total
from tutelage.journal.ledger import BUDGETED_ROLES, Budget, Ledger, Usage
from tutelage.records import Prompt


class Bounded(Protocol):
    """A counted model that can say what one of its calls costs at most."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]: ...
    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]: ...
    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]: ...
    def reward(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]: ...
    def worst(self, prompt: Prompt | None, max_tokens: int, text: str = "") -> Usage: ...


class Capped:
    """`generate`, `score`, `embed` and `reward` of a model, within what is left of the cap of its arm. Roles of one arm share the cap."""

    def __init__(self, model: Bounded, *, cap: Budget, ledger: Ledger, role: str, arm: str) -> None:
        self._model = model
        self._cap = cap
        self._ledger = ledger
        self._role = role
        self._arm = arm

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        worst = [self._model.worst(p, sampling.max_tokens).times(sampling.n) for p in prompts]
        return self._within(worst, lambda start, end: self._model.generate(prompts[start:end], sampling))

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]:
        worst = [self._model.worst(p, 0, text) for p, text in zip(prompts, completions, strict=True)]
        return self._within(worst, lambda start, end: self._model.score(prompts[start:end], completions[start:end]))

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        worst = [self._model.worst(None, 0, text) for text in texts]
        return self._within(worst, lambda start, end: self._model.embed(texts[start:end]))

    def reward(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
        worst = [self._model.worst(p, 0, text) for p, text in zip(prompts, completions, strict=True)]
        return self._within(worst, lambda start, end: self._model.reward(prompts[start:end], completions[start:end]))

    def _within(self, worst: Sequence[Usage], ask: Any) -> list[Any]:
        """All answers, asked for in pieces that fit at their worst; what they really took decides how large the next piece is."""
        calls = sum(w.calls for w in worst)
        if self._cap.calls is not None and self._asked().calls + calls > self._cap.calls:
            # Calls are known exactly beforehand: what cannot be finished is not begun.
            raise self._exhausted(calls)
        found: list[Any] = []
        while len(found) < len(worst):
            fitting = self._fitting(worst[len(found) :])
            if fitting == 0:
                raise self._exhausted(sum(w.calls for w in worst[len(found) :]))
            found += ask(len(found), len(found) + fitting)
        return found

    def _fitting(self, worst: Sequence[Usage]) -> int:
        asked = self._asked()
        tokens, money = asked.tokens, asked.picodollars
        for index, amount in enumerate(worst):
            tokens, money = tokens + amount.tokens, money + amount.picodollars
            over_tokens = self._cap.tokens is not None and tokens > self._cap.tokens
            over_money = self._cap.picodollars is not None and money > self._cap.picodollars
            if over_tokens or over_money:
                return index
        return len(worst)

    def _asked(self) -> Usage:
        return _asked(self._ledger, self._arm)

    def _exhausted(self, calls: int) -> BudgetExhausted:
        return _exhausted(self._cap, _asked(self._ledger, self._arm), f"the {self._role} was to answer {calls:,} more calls")


def within(cap: Budget | None, amount: Usage, *, ledger: Ledger, role: str, arm: str) -> None:
    """`BudgetExhausted` where an amount that is known exactly, such as texts scored in a fit, is more than what is left of the cap."""
    if cap is None or role not in BUDGETED_ROLES:
        return
    asked = _asked(ledger, arm)
    after = asked + amount
    pairs = ((cap.calls, after.calls), (cap.tokens, after.tokens), (cap.picodollars, after.picodollars))
    if any(most is not None and found > most for most, found in pairs):
        raise _exhausted(cap, asked, f"the {role} was to score {amount.scored or amount.calls:,} more texts in training")


def _asked(ledger: Ledger, arm: str) -> Usage:
    """By all budgeted roles of the arm in this attempt; a replay counts the same again from zero."""
    return total([ledger.logical(role=role, arm=arm) for role in sorted(BUDGETED_ROLES)])


def _exhausted(cap: Budget, asked: Usage, what: str) -> BudgetExhausted:
    return BudgetExhausted(
        f"the arm's share of the budget ({cap.describe()}) does not suffice: {what}",
        got=f"asked so far: {asked.calls:,} calls, {asked.tokens:,} tokens",
        fix="a larger budget, or a smaller size of the recipe",
    )


def capped(model: Bounded, *, cap: Budget | None, ledger: Ledger, role: str, arm: str) -> Any:
    """The model itself where nothing is capped: without a cap, or in a role that no budget counts."""
    return model if cap is None or role not in BUDGETED_ROLES else Capped(model, cap=cap, ledger=ledger, role=role, arm=arm)
