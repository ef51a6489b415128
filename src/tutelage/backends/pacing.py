"""How fast an endpoint may be asked: concurrency that adapts, rate limits that are kept, waits that do not line up.

Plain arithmetic over times that are passed in; nothing here sleeps or reads a clock.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_BURST = 1 / 6
"""Share of a minute's allowance that may be used at once. The rest flows in evenly, so that no window of a minute exceeds the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Limits of an endpoint per minute; None where there is none."""

    requests: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None


class Bucket:
    """An allowance that flows in evenly. Corrections may take it below zero; nothing leaves it then until it has filled up again."""

    def __init__(self, per_minute: float) -> None:
        self._burst = per_minute * _BURST
        self._per_second = per_minute * (1 - _BURST) / 60
        self._level = self._burst
        self._at_s: float | None = None

    def _flow(self, now_s: float) -> None:
        if self._at_s is not None:
            self._level = min(self._burst, self._level + (now_s - self._at_s) * self._per_second)
        self._at_s = now_s

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until `amount` may be taken. More than the burst is let through when the bucket is full."""
        self._flow(now_s)
        lacking = min(amount, self._burst) - self._level
        return max(0.0, lacking / self._per_second)

    def take(self, amount: float, now_s: float) -> None:
        """Negative amounts give back what an estimate had taken too much."""
        self._flow(now_s)
        self._level = min(self._burst, self._level - amount)


class Pace:
    """The state of one endpoint, shared by all calls to it.

    Concurrency doubles per round trip until the endpoint first pushes back, then grows per round trip by a fixed step, a sixteenth of
    the most; a push back (429, a timeout) halves it, once per round trip. The step is not one, since failures that have nothing to do
    with load, one in ten, would then hold concurrency at four however large the most is. A wait that the endpoint asked for holds
    everything back, since limits belong to the account, not to the request.
    """

    def __init__(self, *, most: int, start: int, rates: Rates | None = None) -> None:
        rates = rates or Rates()
        self.most = most
        self.ever_answered = False
        """Whether this endpoint has answered anything since it was opened."""
        self._limit = float(min(start, most))
        self._step = max(1.0, most / 16)
        self._slow_start = True
        self._halved_s = float("-inf")
        self._held_until_s = float("-inf")
        self._requests = Bucket(rates.requests) if rates.requests else None
        self._prompt = Bucket(rates.prompt_tokens) if rates.prompt_tokens else None
        self._completion = Bucket(rates.completion_tokens) if rates.completion_tokens else None
        self._tokens_per_byte = 0.5
        """Running estimate; starts high so that the first requests do not overrun a limit."""

    @property
    def limit(self) -> int:
        """How many requests may be under way at once."""
        return max(1, int(self._limit))

    @property
    def limited(self) -> bool:
        return any((self._requests, self._prompt, self._completion))

    def held_s(self, now_s: float) -> float:
        """Seconds for which the endpoint asked to be left alone."""
        return max(0.0, self._held_until_s - now_s)

    def wait_s(self, prompt_bytes: int, completion_tokens: int, now_s: float) -> float:
        """Seconds until the rate limits let one more request of this size go."""
        waits = [0.0]
        for bucket, amount in self._amounts(prompt_bytes, completion_tokens):
            waits.append(bucket.wait_s(amount, now_s))
        return max(waits)

    def sent(self, prompt_bytes: int, completion_tokens: int, now_s: float) -> None:
        for bucket, amount in self._amounts(prompt_bytes, completion_tokens):
            bucket.take(amount, now_s)

    def billed(self, prompt_bytes: int, reserved_completion: int, prompt_tokens: int, completion_tokens: int, now_s: float) -> None:
        """Correct the estimates of a request by its bill."""
        if self._prompt:
            self._prompt.take(prompt_tokens - prompt_bytes * self._tokens_per_byte, now_s)
            if prompt_bytes:
                self._tokens_per_byte += 0.05 * (prompt_tokens / prompt_bytes - self._tokens_per_byte)
        if self._completion:
            self._completion.take(completion_tokens - reserved_completion, now_s)

    def _amounts(self, prompt_bytes: int, completion_tokens: int) -> list[tuple[Bucket, float]]:
        pairs = ((self._requests, 1.0), (self._prompt, prompt_bytes * self._tokens_per_byte), (self._completion, float(completion_tokens)))
        return [(bucket, amount) for bucket, amount in pairs if bucket]

    def answered(self) -> None:
        self.ever_answered = True
        self._limit = min(float(self.most), self._limit + (1.0 if self._slow_start else min(1.0, self._step / self._limit)))

    def pushed_back(self, sent_s: float, now_s: float, wait_s: float | None = None) -> None:
        """The endpoint refused a request sent at `sent_s`, perhaps naming a wait."""
        self._slow_start = False
        if sent_s > self._halved_s:
            self._limit = max(1.0, self._limit / 2)
            self._halved_s = now_s
        if wait_s is not None:
            self._held_until_s = max(self._held_until_s, now_s + wait_s)


def backoff_s(attempt: int, *, first_s: float, most_s: float, rng: random.Random) -> float:
    """Wait before attempt number `attempt` (from 1): doubling, and spread over half to one and a half of itself."""
    return min(most_s, first_s * 2 ** (attempt - 1)) * (0.5 + rng.random())
