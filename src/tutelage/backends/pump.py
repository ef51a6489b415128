"""The loop between a role and an endpoint: admit, send, collect, commit; again and again until every answer is there.

It runs in the caller's thread and owns everything that must not be lost: budget, retries, order of commits. The endpoint's own thread
only moves bytes. At most `Pace.limit` answers are ever sent for or arrived but not yet on the disk, so a kill can cost no more than
that many.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from tutelage.backends.asks import AnswersEach, Ask, Draw, Outcome, Patience
from tutelage.backends.pacing import backoff_s
from tutelage.errors import BudgetExhausted, EndpointError, InternalError
from tutelage.journal.amounts import Usage, total
from tutelage.journal.ledger import Ledger

_REFUSALS_UNTIL_GIVING_UP = 20
"""Requests that an endpoint may refuse before it has answered any, until the fault is sought in the settings and not in the rows."""
_GATHER = 0.05
"""Share of a round trip for which answers are gathered, to be committed and paid together; it costs at most so much of the speed."""
_GATHER_MOST_S = 0.05
_FEW = 4
"""Requests under way among which gathering saves nothing."""


@dataclass(slots=True)
class Pump:
    """One call's worth of requests on their way through one endpoint."""

    backend: AnswersEach
    ledger: Ledger
    role: str
    arm: str
    commit: Callable[[list[tuple[int, dict[str, Any]]]], list[tuple[int, dict[str, Any]]]]
    """Makes answers durable and returns them as they stand (another process may have been first)."""
    patience: Patience = field(default_factory=Patience)
    price: Callable[[Usage], Usage] = lambda usage: usage
    expected: int | None = None
    """Answers the caller waits for in all, for messages."""
    _queue: deque[Ask] = field(default_factory=deque)
    _later: list[tuple[float, int, Ask]] = field(default_factory=list)
    _in_flight: int = 0
    _number: int = 0
    _unreachable: int = 0
    _unreachable_s: float = 0.0
    _short: bool = False
    """Nothing but the budget holds the next request back; only an answer can change that."""
    _held_back: list[Outcome] = field(default_factory=list)
    """Refusals before the first success: not committed, because they may be nobody's data."""
    _silent_s: float = 0.0
    """Time spent waiting for the endpoint since it last answered. Not the time since then: a machine may have slept."""
    _round_trip_s: float = 0.0
    """Running mean."""
    _delivered: int = 0
    _rng: random.Random = field(default_factory=random.Random)

    def run(self, asks: Iterable[Ask]) -> Iterator[tuple[int, dict[str, Any]]]:
        """(slot, answer) in the order in which they became durable. `asks` is drawn from only as there is room."""
        source = iter(asks)
        exhausted = False
        try:
            while True:
                if not exhausted:
                    exhausted = self._fill(source)
                short = self._admit()
                self._short = short is not None
                if not self._in_flight:
                    if short is not None:
                        raise self._budget_error(short)
                    if exhausted and not self._queue and not self._later:
                        break
                nap_s, began_s = self._nap_s(), time.monotonic()
                gather_s = min(_GATHER * self._round_trip_s, _GATHER_MOST_S) if self._in_flight > _FEW else 0.0
                outcomes = self.backend.collect(nap_s, gather_s)
                self._silent_s += min(nap_s, time.monotonic() - began_s)
                yield from self._digest(outcomes)
                self._check_silence()
            yield from self._release_held_back()
        finally:
            # Left early (an error, Ctrl-C, a consumer that stopped): what has arrived is kept, what is under way is in doubt.
            if self._in_flight:
                self._digest(self.backend.cancel(), closing=True)

    def _fill(self, source: Iterator[Ask]) -> bool:
        while len(self._queue) < self.backend.pace.limit:
            ask = next(source, None)
            if ask is None:
                return True
            self._queue.append(ask)
        return False

    def _admit(self) -> Usage | None:
        """Send what may go now. Returns the worst case of the next piece where the budget, and nothing else, holds it back."""
        now_s = time.monotonic()
        while self._later and self._later[0][0] <= now_s:
            self._queue.appendleft(heapq.heappop(self._later)[2])
        pace = self.backend.pace
        room = pace.limit - self._in_flight
        if room <= 0 or not self._queue or pace.held_s(now_s) > 0:
            return None
        batch = list(islice(self._queue, room))
        if pace.limited:
            batch = self._within_rates(batch, now_s)
            if not batch:
                return None
        fitting = self.ledger.reserve(self.role, self.arm, [a.worst for a in batch])
        for ask in batch[:fitting]:
            self._queue.popleft()
            ask.sent_s = now_s
            ask.reserved = ask.worst
            ask.began_s = now_s if ask.began_s is None else ask.began_s
        if fitting:
            self._in_flight += fitting
            self.backend.send(batch[:fitting])
        if fitting < len(batch):
            return batch[fitting].worst
        return None

    def _within_rates(self, batch: list[Ask], now_s: float) -> list[Ask]:
        pace = self.backend.pace
        allowed = []
        for ask in batch:
            if pace.wait_s(ask.prompt_bytes, ask.worst.completion_tokens, now_s) > 0:
                break
            pace.sent(ask.prompt_bytes, ask.worst.completion_tokens, now_s)
            allowed.append(ask)
        return allowed

    def _nap_s(self) -> float:
        """How long nothing can happen but an answer."""
        now_s = time.monotonic()
        pace = self.backend.pace
        waits = [5.0]
        if self._later:
            waits.append(self._later[0][0] - now_s)
        if self._queue and self._in_flight < pace.limit and not self._short:
            head = self._queue[0]
            waits.append(max(pace.held_s(now_s), pace.wait_s(head.prompt_bytes, head.worst.completion_tokens, now_s), 0.001))
        return max(0.0, min(waits))

    def _digest(self, outcomes: list[Outcome], *, closing: bool = False) -> list[tuple[int, dict[str, Any]]]:
        """Commit what was answered, settle every bill, and put the rest where it belongs."""
        if not outcomes:
            return []
        self._in_flight -= len(outcomes)
        now_s = time.monotonic()
        mean_s = sum(now_s - o.ask.sent_s for o in outcomes) / len(outcomes)
        self._round_trip_s += 0.2 * (mean_s - self._round_trip_s)
        answered: list[tuple[int, dict[str, Any]]] = []
        fatal: Exception | None = None
        for outcome in outcomes:
            ask = outcome.ask
            if outcome.bill is not None and self.backend.pace.limited:
                bill = outcome.bill
                self.backend.pace.billed(
                    ask.prompt_bytes, ask.reserved.completion_tokens, bill.prompt_tokens, bill.completion_tokens, now_s
                )
            if outcome.answers is not None:
                self._success()
                answered += zip(ask.slots, outcome.answers, strict=False)
                if missing := ask.slots[len(outcome.answers) :]:
                    self._queue.append(self._rest(ask, missing))
            elif outcome.fatal is not None:
                fatal = fatal or outcome.fatal
            elif outcome.row_error is not None and not isinstance(ask.job, Draw):
                # A score or a vector that is missing is not a number; nothing could go on with it.
                said = outcome.row_error.get("error")
                fatal = fatal or EndpointError(f"endpoint {self.backend.where} cannot answer for one of the texts", got=said)
            elif outcome.row_error is not None and outcome.refused and not self.backend.pace.ever_answered:
                self._held_back.append(outcome)
            elif outcome.row_error is not None:
                if not outcome.refused:
                    self._success()
                answered += ((slot, outcome.row_error) for slot in ask.slots)
            elif not closing:
                fatal = fatal or self._again(outcome, now_s, answered)
        if self.backend.pace.ever_answered and self._held_back:
            answered += ((slot, held.row_error or {}) for held in self._held_back for slot in held.ask.slots)
            self._held_back = []
        kept = self.commit(answered) if answered else []
        self._settle(outcomes)
        self._delivered += len(kept)
        if fatal is None and not closing:
            fatal = self._hopeless()
        if fatal is not None and not closing:
            raise fatal
        return kept

    def _success(self) -> None:
        self._silent_s, self._unreachable = 0.0, 0
        self.backend.pace.answered()

    def _rest(self, ask: Ask, missing: tuple[int, ...]) -> Ask:
        """The samples that an endpoint did not give, asked for again; once it gives none at all, `answers` was None."""
        done = len(ask.slots) - len(missing)
        if isinstance(ask.job, Draw):
            job = Draw(prompt=ask.job.prompt, sampling=ask.job.sampling, index=ask.job.index + done, count=len(missing))
            return self.backend.ask_of(job, missing)
        raise InternalError("only samples can come in parts", got=f"{done} of {len(ask.slots)}")

    def _again(self, outcome: Outcome, now_s: float, answered: list[tuple[int, dict[str, Any]]]) -> EndpointError | None:
        """Queue another attempt, or give the row or the endpoint up."""
        ask, patience = outcome.ask, self.patience
        if outcome.pushed_back:
            self.backend.pace.pushed_back(ask.sent_s, now_s, outcome.wait_s)
        if outcome.at_once:
            self._queue.appendleft(ask)
            return None
        counts = outcome.counts and not outcome.unreachable
        ask.attempts += counts
        ask.pushes += not counts
        if outcome.unreachable:
            self._unreachable_s = self._unreachable_s if self._unreachable else now_s
            self._unreachable += 1
            allowed_s = patience.dead_s if self.backend.pace.ever_answered else 0.0
            if self._unreachable >= patience.connects and now_s - self._unreachable_s >= allowed_s:
                return EndpointError(
                    f"endpoint {self.backend.where} cannot be reached",
                    got=outcome.reason,
                    fix="start the server, or correct the address; the same command continues",
                )
        age_s = now_s - (ask.began_s or now_s)
        if ask.attempts >= patience.attempts or age_s > patience.row_s:
            tries = f"{ask.attempts} failed attempts" if ask.attempts >= patience.attempts else f"{age_s:.0f} s"
            if not self.backend.pace.ever_answered or not isinstance(ask.job, Draw):
                return EndpointError(
                    f"endpoint {self.backend.where} did not answer",
                    got=f"{outcome.reason} (after {tries})",
                    fix="the server's own log may say why; a model without a chat template needs ?api=completions, a server with TLS https://",
                )
            row = {
                "text": "",
                "finish": "error",
                "prompt_tokens": 0,
                "completion_tokens": 0,
                "error": f"given up after {tries}: {outcome.reason}",
            }
            answered += ((slot, row) for slot in ask.slots)
            return None
        wait_s = backoff_s(ask.attempts + min(ask.pushes, 6), first_s=patience.first_wait_s, most_s=patience.most_wait_s, rng=self._rng)
        if outcome.wait_s is not None:
            # The wait that was named, and a little more, so that those who waited together do not come back together.
            wait_s = outcome.wait_s + min(wait_s, patience.first_wait_s)
        self._number += 1
        heapq.heappush(self._later, (now_s + wait_s, self._number, ask))
        return None

    def _hopeless(self) -> EndpointError | None:
        if len(self._held_back) >= _REFUSALS_UNTIL_GIVING_UP and not self.backend.pace.ever_answered:
            return self._refused_error()
        return None

    def _refused_error(self) -> EndpointError:
        first = self._held_back[0]
        return EndpointError(
            f"endpoint {self.backend.where} refuses these requests",
            got=(first.row_error or {}).get("error"),
            fix="correct the setting it names; nothing was kept of these refusals",
        )

    def _release_held_back(self) -> list[tuple[int, dict[str, Any]]]:
        """All requests were refused and none was answered: not data, but a fault of the settings."""
        if self._held_back and not self.backend.pace.ever_answered:
            raise self._refused_error()
        return []

    def _check_silence(self) -> None:
        if (self._in_flight or self._later or self._queue) and self._silent_s > self.patience.silence_s:
            raise EndpointError(
                f"endpoint {self.backend.where} has answered nothing for {self.patience.silence_s:.0f} s",
                fix="it may be overloaded or your limits used up; run the same command again later, it continues",
            )

    def _settle(self, outcomes: list[Outcome]) -> None:
        reserved = total([o.ask.reserved for o in outcomes])
        now_s = time.monotonic()
        spent = total([self.price(o.bill) for o in outcomes if o.bill is not None])
        spent = replace(spent, microseconds=sum(round((now_s - o.ask.sent_s) * 1e6) for o in outcomes if o.bill is not None))
        doubt = total([o.ask.reserved for o in outcomes if o.bill is None])
        self.ledger.settle(self.role, self.arm, reserved, spent=spent, in_doubt=doubt)

    def _budget_error(self, needed: Usage) -> BudgetExhausted:
        missing = f"{self.expected - self._delivered:,} of {self.expected:,} answers" if self.expected is not None else "the next answers"
        return self.ledger.exhausted(self.role, missing=missing, needed=needed)
