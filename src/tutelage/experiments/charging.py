"""What one arm under one seed is charged for inside its fits: texts that other models read, and calls of hooks.

Logical amounts belong to the arm: exactly once, whether the fit is done, continued from a checkpoint or found finished. Physical ones
belong to the fit: what it ever read is charged once, to the arm that had it read, however often a kill sets it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tutelage.experiments.caps import within
from tutelage.journal.amounts import NOTHING, Usage
from tutelage.journal.ledger import Budget, Ledger
from tutelage.records import ModelRef

if TYPE_CHECKING:
    from tutelage.train.window import Row

Who = Callable[[ModelRef, str], str]
"""(model, role of its handle) -> the role that is charged; empty where none is."""


class Account:
    """The ledger, under the name of one arm."""

    def __init__(self, ledger: Ledger, arm: str, cap: Budget | None = None) -> None:
        self.ledger, self.arm, self.cap = ledger, arm, cap
        self._fits: set[str] = set()

    def open(self, fit: str, who: Who) -> FitCharges:
        """For a fit that is going to be done."""
        self._fits.add(fit)
        return FitCharges(self, fit, who)

    def again(self, fit: str, charged: Mapping[str, Mapping[str, int]]) -> None:
        """For a fit that is found finished: what was charged in it, logically, unless this arm has been charged for it already."""
        if fit not in self._fits:
            self._fits.add(fit)
            for role, amount in charged.items():
                self.count(role, _usage(amount))

    def count(self, role: str, amount: Usage) -> None:
        """Logically alone: the work is behind us."""
        within(self.cap, amount, ledger=self.ledger, role=role, arm=self.arm)
        self.ledger.count(role, self.arm, amount)


class FitCharges:
    """`train.readings.Charges` of one fit."""

    def __init__(self, account: Account, fit: str, who: Who) -> None:
        self._account, self._fit, self.who = account, fit, who
        self._before = account.ledger.logical_by_role(account.arm)
        self._scored: dict[str, Usage] = {}

    def read(self, ref: ModelRef, role: str, rows: Sequence[Row]) -> None:
        role = self.who(ref, role)
        if role:
            amount = _reading(rows)
            within(self._account.cap, amount, ledger=self._account.ledger, role=role, arm=self._account.arm)
            self._account.ledger.spend(role, self._account.arm, amount, **self._course(role, amount))
            self._scored[role] = self._scored.get(role, NOTHING) + amount

    def afford(self, ref: ModelRef, role: str, rows: Sequence[Row]) -> None:
        role = self.who(ref, role)
        if role:
            amount = _reading(rows)
            within(self._account.cap, amount, ledger=self._account.ledger, role=role, arm=self._account.arm)
            self._account.ledger.afford(role, amount, **self._course(role, amount))

    def _course(self, role: str, amount: Usage) -> dict[str, Any]:
        what = f"{amount.calls:,} texts to be scored in the next step of training"
        return {"what": what, "course": self._fit, "before": self._scored.get(role, NOTHING)}

    def charged(self) -> dict[str, dict[str, int]]:
        """By role: all that the arm asked in the course of this fit, by scoring or by hooks, for the fit's record."""
        return {role: _json(amount) for role, amount in self._charged().items()}

    def _charged(self) -> dict[str, Usage]:
        now = self._account.ledger.logical_by_role(self._account.arm)
        spent = {role: amount - self._before.get(role, NOTHING) for role, amount in now.items()}
        return {role: amount for role, amount in spent.items() if amount != NOTHING}

    def state(self) -> dict[str, Any]:
        return {"all": self.charged(), "scored": {role: _json(amount) for role, amount in self._scored.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """What was read before the first step is read again and is part of both: the account is brought to the checkpoint's, not raised
        by it."""
        now = self._charged()
        for role, amount in state["all"].items():
            self._account.count(role, _usage(amount) - now.get(role, NOTHING))
        self._scored = {role: _usage(amount) for role, amount in state["scored"].items()}


def _reading(rows: Sequence[Row]) -> Usage:
    return Usage(calls=len(rows), scored=len(rows), prompt_tokens=sum(len(r.ids) for r in rows))


def _json(amount: Usage) -> dict[str, int]:
    return {name: value for name, value in asdict(amount).items() if value}


def _usage(body: Mapping[str, int]) -> Usage:
    return Usage(**body)
