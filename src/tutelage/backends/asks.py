"""What passes between the pump and an endpoint: requests with their worst case, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tutelage.backends.pacing import Pace
from tutelage.capabilities import Sampling
from tutelage.journal.amounts import NOTHING, Usage
from tutelage.records import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """`count` samples of one prompt, from sample `index` on."""

    prompt: Prompt
    sampling: Sampling
    index: int
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Log-probabilities of `text` after `prompt`."""

    prompt: Prompt
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Vectors of texts."""

    texts: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Ask:
    """One request to be answered, over all its attempts."""

    slots: tuple[int, ...]
    """Where its answers belong, in the caller's numbering."""
    job: Draw | Rate | Place
    worst: Usage
    """Upper bound of the bill of the next attempt."""
    reserved: Usage = NOTHING
    """The same of the attempt under way."""
    prompt_bytes: int = 0
    attempts: int = 0
    """Failed ones that count towards the limit; refusals for speed do not."""
    pushes: int = 0
    """Refusals for speed so far."""
    began_s: float | None = None
    sent_s: float = 0.0
    state: Any = None
    """What the endpoint's side remembers between attempts (turns of a repair, token ids)."""
    billed: Usage = NOTHING
    """Bills of earlier attempts that led to this answer (repairs)."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one attempt. Exactly one of `answers`, `row_error`, `fatal`, or an again (`reason` alone) is set."""

    ask: Ask
    answers: list[dict[str, Any]] | None = None
    """One per slot; fewer where the endpoint gave fewer samples than asked for."""
    row_error: dict[str, Any] | None = None
    """An answer that says what failed for good; data."""
    refused: bool = False
    """The row error is a refusal of the request's form, which before any success is the settings' fault."""
    fatal: Exception | None = None
    """The endpoint as a whole is of no use, or something broke."""
    reason: str = ""
    """Why to try again, for people."""
    pushed_back: bool = False
    """Too fast, or too slow: 429 and timeouts."""
    counts: bool = True
    """Whether this failure counts towards the limit of attempts."""
    unreachable: bool = False
    """No connection came about."""
    at_once: bool = False
    """Try again without waiting (a repair)."""
    wait_s: float | None = None
    """The wait that the endpoint named."""
    bill: Usage | None = None
    """What the endpoint says it cost; None: something may have been billed and nobody told us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often."""

    attempts: int = 10
    """Failed attempts after which a row is given up, as data."""
    connects: int = 5
    """Attempts without a connection, in a row over all requests, after which the endpoint is dead,"""
    dead_s: float = 30.0
    """but one that has answered before may be away for so long (a restart)."""
    first_wait_s: float = 0.5
    most_wait_s: float = 30.0
    row_s: float = 3600.0
    """Age of a row at which it is given up, as data."""
    silence_s: float = 600.0
    """Time without any success after which an endpoint that only pushes back is given up."""


@runtime_checkable
class AnswersEach(Protocol):
    """A back end that takes requests one by one and hands answers over as they come."""

    pace: Pace
    patience: Patience
    where: str
    """The endpoint's address, for people."""
    samples_together: int
    """Samples of one prompt that one request may ask for."""
    texts_together: int
    """Texts that one request for vectors may hold."""

    def ask_of(self, job: Draw | Rate | Place, slots: tuple[int, ...]) -> Ask: ...
    def send(self, asks: Sequence[Ask]) -> None: ...
    def collect(self, timeout_s: float, gather_s: float = 0.0) -> list[Outcome]: ...
    def cancel(self) -> list[Outcome]: ...
