"""What everything that is not an answer means: another attempt, data, or the end of the run."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from tutelage.backends import replies
from tutelage.backends.address import Address, Key
from tutelage.backends.asks import Ask, Outcome
from tutelage.errors import EndpointError
from tutelage.journal.amounts import NOTHING

ABSENT = frozenset({404, 405})
"""For these the endpoint's list of models says more than its words."""
_NOT_BILLED = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429, 500, 501, 502, 503, 529})
"""Errors that a server answers instead of an answer. 408 and 504 are not among them: something behind the gateway may have worked."""
_TOO_BUSY = frozenset({408, 429, 503, 504, 524, 529})
_WORDS = 300
"""Characters of a server's own words in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """For one endpoint. An outcome says what becomes of the request; what ends the run is raised."""

    address: Address
    where: str
    key: Key

    def of_connection(self, ask: Ask, problem: aiohttp.ClientError | TimeoutError) -> Outcome:
        """No reply came."""
        if isinstance(problem, aiohttp.ClientSSLError):
            raise EndpointError(
                f"endpoint {self.where} has no connection that can be trusted", got=self._words(str(problem)),
                fix="correct the address, or name the certificate authority in SSL_CERT_FILE",
            ) from None  # fmt: skip
        if isinstance(problem, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
            return Outcome(ask=ask, reason=self._words(str(problem)), unreachable=True, bill=NOTHING)
        if isinstance(problem, TimeoutError):
            return Outcome(ask=ask, reason=f"no answer within {self.address.timeout_s:g} s", pushed_back=True)
        return Outcome(ask=ask, reason=self._words(f"{type(problem).__name__}: {problem}"))

    def of_nonsense(self, ask: Ask, body: bytes, what: str) -> Outcome:
        """A reply with status 200 that is not an answer. Something was computed for it, most likely."""
        if body.lstrip()[:1] == b"<":
            error = EndpointError(
                f"endpoint {self.where} answered with a web page instead of JSON",
                got=self._words(body.decode(errors="replace")[:80]),
                fix="the base URL usually ends in /v1; a proxy or login page may also stand in between",
            )
            return Outcome(ask=ask, fatal=error, bill=NOTHING)
        return Outcome(ask=ask, reason=f"unusable reply: {self._words(what)}")

    def of_status(self, ask: Ask, status: int, headers: Any, body: bytes, *, served: Sequence[str]) -> Outcome:
        """`served`: names of the models that the endpoint lists, where its status is one of `ABSENT`."""
        code, words = replies.error_words(body)
        said = self._words(f"HTTP {status}: {words}")
        bill = NOTHING if status in _NOT_BILLED or 300 <= status < 400 else None
        if status in (401, 403):
            name = self.key.name
            what = f"refuses the key in {name}" if self.key else f"wants a key; looked for {name} in the environment and .env"
            raise EndpointError(f"endpoint {self.where} {what}", got=said, fix=f"put a valid key into {name}")
        if status == 402 or code in ("insufficient_quota", "billing_hard_limit_reached"):
            raise EndpointError(
                f"endpoint {self.where} says the account has no credit left",
                got=said,
                fix="add credit at the provider, then run the same command again: it continues",
            )
        if 300 <= status < 400:
            raise EndpointError(
                f"endpoint {self.where} redirects", got=headers.get("Location", "")[:200], fix="name the address it points to"
            )
        if status in ABSENT:
            raise self._absent(said, served)
        if status in (400, 413, 422):
            return self._of_request(ask, code, words, said)
        wait_s = named_wait_s(headers, time.time())
        if status in _TOO_BUSY:
            return Outcome(ask=ask, reason=said, pushed_back=True, counts=status != 429, wait_s=wait_s, bill=bill)
        return Outcome(ask=ask, reason=said, wait_s=wait_s, bill=bill)

    def _absent(self, said: str, served: Sequence[str]) -> EndpointError:
        if served and self.address.model not in served:
            names = ", ".join(served[:20]) + (f" and {len(served) - 20} more" if len(served) > 20 else "")
            return EndpointError(f"endpoint {self.address.base} does not serve '{self.address.model}'", got=said, fix=f"it serves: {names}")
        return EndpointError(
            f"endpoint {self.where} has no such route",
            got=said,
            fix="the base URL usually ends in /v1; api=chat or api=completions may be missing there",
        )

    def _of_request(self, ask: Ask, code: str, words: str, said: str) -> Outcome:
        lower = words.lower()
        row: dict[str, Any] = {"text": "", "finish": "error", "prompt_tokens": 0, "completion_tokens": 0}
        if code == "context_length_exceeded" or "context length" in lower or "context window" in lower or "maximum context" in lower:
            return Outcome(ask=ask, row_error=row | {"error": f"longer than the model's context: {said}"}, bill=NOTHING)
        if code in ("content_filter", "content_policy_violation"):
            return Outcome(
                ask=ask, row_error=row | {"finish": "refusal", "error": f"refused by the provider's filter: {said}"}, bill=NOTHING
            )
        return Outcome(ask=ask, row_error=row | {"error": f"refused by the endpoint: {said}"}, refused=True, bill=NOTHING)

    def _words(self, text: str) -> str:
        text = self.key.scrub(" ".join(text.split()))
        return text if len(text) <= _WORDS else text[: _WORDS - 3] + "..."


def named_wait_s(headers: Any, now_s: float) -> float | None:
    """`retry-after-ms`, or `Retry-After` in seconds or as a date; None where there is none or it cannot be read."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        if (text := headers.get("Retry-After")) is None:
            return None
        try:
            return max(0.0, float(text))
        except ValueError:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, TypeError):
        return None
