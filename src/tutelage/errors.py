"""Everything this package raises on purpose, in one tree.

TutelageError                 exit
|- UserError                     2   the caller's fault
|  |- SettingsError              2   unknown recipe, task, model, setting or option; a value out of range
|  |- DataError                  2   a user's file or row that cannot be used
|  |- CapabilityError            2   a role whose model cannot do what the recipe needs
|  `- MissingExtra               5   an optional package that is not installed
|- OutsideError                  1   the world's fault
|  |- EndpointError              5   a model server that is dead, refuses or answers nonsense
|  |- StorageError               1   a disk that is full, a file that is damaged
|  `- SandboxError               1   the isolated process could not be started
|- BudgetExhausted               3   the hard cap was reached; the run can be continued
|- QualityGate                   4   too little survived to go on; nothing was trained
`- InternalError                 1   ours

A bad generation is data, never one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TutelageError(Exception):
    """What happened, the value it happened with (`got`) and what to do about it (`fix`)."""

    exit_code = 1

    def __init__(self, message: str, *, got: object = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.got = got
        self.fix = fix

    def __str__(self) -> str:
        parts = [self.message]
        if self.got is not None:
            parts.append(f"got: {self.got}")
        if self.fix:
            parts.append(f"fix: {self.fix}")
        return "\n  ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (one process per seed); keyword-only arguments need this.
        return (_rebuild, (type(self), self.message, None if self.got is None else str(self.got), self.fix))


def _rebuild(cls: type[TutelageError], message: str, got: object, fix: str | None) -> TutelageError:
    return cls(message, got=got, fix=fix)


class UserError(TutelageError):
    exit_code = 2


class SettingsError(UserError):
    """An unknown name or a value out of range."""


class DataError(UserError):
    """A user's file or row that cannot be used."""


class CapabilityError(UserError):
    """A role whose model cannot do what the recipe needs."""


class MissingExtra(UserError):
    """An optional package is not installed; the message names the extra."""

    exit_code = 5


class OutsideError(TutelageError):
    exit_code = 1


class EndpointError(OutsideError):
    """A model server that is dead, refuses or answers nonsense."""

    exit_code = 5


class StorageError(OutsideError):
    """A disk that is full or a file of ours that is damaged."""


class SandboxError(OutsideError):
    """The isolated process could not be started."""


class BudgetExhausted(TutelageError):
    """The hard cap was reached. Passes through recipes; the run can be continued with a larger cap."""

    exit_code = 3


class QualityGate(TutelageError):
    """Too little survived a filter, or a signal is noise: going on would waste what follows."""

    exit_code = 4


class InternalError(TutelageError):
    """A defect of this package."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the closest known ones, or all of them when there are few."""
    names = sorted(known)
    if not names:
        return "there are none to choose from"
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + ", ".join(names) if len(names) <= 40 else f"{len(names)} names are known; list them first"


def missing_extra(package: str, extra: str) -> MissingExtra:
    return MissingExtra(f"package '{package}' is not installed", fix=f"pip install 'tutelage[{extra}]'")
