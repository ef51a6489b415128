"""OpenAI-compatible endpoints: a provider, vLLM, SGLang, llama.cpp, `transformers serve`.

The back end lives on a thread of its own with an event loop; callers see plain synchronous methods. It sends one attempt at a time and
says what became of it; whether to try again is the pump's business.
"""

from __future__ import annotations

import asyncio
import email.utils
import queue
import threading
import time
import urllib.request
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import aiohttp
import orjson

from tutelage.backends import replies
from tutelage.backends.address import Address, key_of
from tutelage.backends.answers import completion_from, scores_from, vector_from
from tutelage.backends.pacing import Pace, Rates
from tutelage.backends.pump import Ask, Draw, Outcome, Patience, Place, Pump, Rate
from tutelage.backends.replies import Malformed
from tutelage.backends.schema import json_in, misfit, read_schema
from tutelage.capabilities import Completion, ModelFacts, Sampling, TokenScores
from tutelage.errors import CapabilityError, EndpointError, InternalError
from tutelage.journal.ledger import NOTHING, Ledger, Usage
from tutelage.records import ModelRef, Prompt
from tutelage.seeds import derive

_TURN_TOKENS = 16
_FRAME_TOKENS = 64
"""Role markers around a turn; a template's own opening (some add a date or a standing instruction)."""
_NOT_BILLED = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429, 500, 501, 502, 503, 529})
"""Errors that a server answers instead of an answer. 408 and 504 are not among them: something behind the gateway may have worked."""
_TOO_BUSY = frozenset({408, 429, 503, 504, 524, 529})
_WORDS = 300
"""Characters of a server's own words in a message."""


def facts_of(address: Address) -> ModelFacts:
    """What an endpoint can do, by its address alone."""
    can = {"generate", "embed"} | ({"score"} if address.score != "none" else set())
    return ModelFacts(capabilities=frozenset(can), family="endpoint", dialect=address.dialect, chat_template=address.api == "chat")


class _Line:
    """The thread, event loop and connections of one back end. Holds no reference to the back end, so that it can be told when that goes."""

    def __init__(self, address: Address, headers: dict[str, str]) -> None:
        self._address = address
        self._headers = {"Content-Type": "application/json", "User-Agent": "tutelage"} | headers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def is_open(self) -> bool:
        return self._loop is not None

    def running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name=f"endpoint {self._address.host}", daemon=True)
            self._thread.start()
        return self._loop

    def session(self) -> aiohttp.ClientSession:
        """Called on the line's own thread only."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=self._address.timeout_s, sock_connect=self._address.connect_s),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # it would also read passwords from ~/.netrc
            )
        return self._session

    def shut(self) -> None:
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._loop = self._thread = None
        closed = asyncio.run_coroutine_threadsafe(self._close(), loop)
        if threading.current_thread() is thread:
            closed.add_done_callback(lambda _: loop.stop())  # the last reference died on this very thread: nothing to wait for
            return
        closed.result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class OpenAIBackend:
    """`generate`, `score` and `embed` over HTTP. Wrapped in `Cached` it is driven answer by answer; alone it answers whole lists."""

    def __init__(self, ref: ModelRef, **options: Any) -> None:
        """`options`: the fields of `Address`, over what the model's name says."""
        self.address = Address.parse(ref.name).having(options)
        self.where = f"{self.address.base} (model {self.address.model})"
        self.samples_together = self.address.samples
        self.texts_together = self.address.texts
        self._key = key_of(self.address)
        self.pace = Pace(
            most=self.address.concurrency,
            start=self.address.start,
            rates=Rates(requests=self.address.rpm, prompt_tokens=self.address.prompt_tpm, completion_tokens=self.address.completion_tpm),
        )
        self.patience = Patience(
            attempts=self.address.attempts,
            dead_s=self.address.dead_s,
            first_wait_s=self.address.backoff_s,
            # A slow model is not a silent one.
            silence_s=max(self.address.silence_s, 2 * self.address.timeout_s),
        )
        self._done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._line = _Line(self.address, self._key.header())
        # Whoever forgets `close` must not leave sockets and a thread behind.
        weakref.finalize(self, self._line.shut)
        self._schemas: dict[str, dict[str, Any]] = {}
        self._proxy = _proxy_for(self.address)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """Without cache or ledger, for direct use."""
        rows = self._all(_draws(prompts, sampling, self.address.samples))
        flat = [completion_from(row) for row in rows]
        return [flat[i : i + sampling.n] for i in range(0, len(flat), sampling.n)]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]:
        rows = self._all(((Rate(prompt=p, text=t), 1) for p, t in zip(prompts, completions, strict=True)))
        return [scores_from(row) for row in rows]

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        size = self.address.texts
        parts = (tuple(texts[i : i + size]) for i in range(0, len(texts), size))
        return [vector_from(row) for row in self._all((Place(texts=part), len(part)) for part in parts)]

    def _all(self, jobs: Iterable[tuple[Draw | Rate | Place, int]]) -> list[dict[str, Any]]:
        asks, first = [], 0
        for job, count in jobs:
            asks.append(self.ask_of(job, tuple(range(first, first + count))))
            first += count
        with Ledger(None) as ledger:
            pump = Pump(backend=self, ledger=ledger, role="", arm="", commit=lambda rows: rows, patience=self.patience)
            found = dict(pump.run(asks))
        return [found[i] for i in range(first)]

    def ask_of(self, job: Draw | Rate | Place, slots: tuple[int, ...]) -> Ask:
        """The job as a request, with an upper bound of its bill: no tokenizer makes more tokens than the text has bytes."""
        if isinstance(job, Place):
            size = sum(len(t.encode()) + _FRAME_TOKENS for t in job.texts)
            worst = Usage(calls=len(job.texts), prompt_tokens=size)
        elif isinstance(job, Rate):
            if self.address.score == "none":
                raise CapabilityError(
                    "this endpoint was not said to return log-probabilities of given text",
                    got=self.where,
                    fix="add ?score=ids (vLLM, SGLang) or ?score=echo (completions that echo) to its base URL, or use hf: for this role",
                )
            size = _prompt_bytes(job.prompt) + len(job.text.encode())
            worst = Usage(calls=1, prompt_tokens=size, completion_tokens=1)
        else:
            if job.sampling.schema is not None and job.sampling.schema not in self._schemas:
                self._schemas[job.sampling.schema] = read_schema(job.sampling.schema)
            size = _prompt_bytes(job.prompt) + (len(job.sampling.schema.encode()) if job.sampling.schema else 0)
            worst = Usage(calls=job.count, prompt_tokens=size, completion_tokens=job.sampling.max_tokens * job.count)
        return Ask(slots=slots, job=job, worst=worst, prompt_bytes=size)

    # The pump's side: called from the caller's thread

    def send(self, asks: Sequence[Ask]) -> None:
        self._line.running().call_soon_threadsafe(self._start, list(asks))

    def collect(self, timeout_s: float) -> list[Outcome]:
        """All outcomes that have come; waits for the first."""
        outcomes: list[Outcome] = []
        try:
            outcomes.append(self._done.get(timeout=max(0.0, timeout_s)))
            while True:
                outcomes.append(self._done.get_nowait())
        except queue.Empty:
            return outcomes

    def cancel(self) -> list[Outcome]:
        """Stop whatever is under way. Returns the outcomes that had come and were not collected, and those that were cut off."""
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._line.running()).result()
        outcomes = []
        while not self._done.empty():
            outcomes.append(self._done.get_nowait())
        return outcomes

    def close(self) -> None:
        """Close connections and end the thread. What is under way is cut off."""
        if self._line.is_open:
            self.cancel()
            self._line.shut()

    def models(self) -> list[str]:
        """What the endpoint says it serves; empty where it does not say."""
        return asyncio.run_coroutine_threadsafe(self._models(), self._line.running()).result()

    # The endpoint's side: runs on its own thread

    def _start(self, asks: list[Ask]) -> None:
        loop = asyncio.get_running_loop()
        for ask in asks:
            task = loop.create_task(self._attempt(ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _cancel_all(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt(self, ask: Ask) -> None:
        try:
            outcome = await self._exchange(ask)
        except asyncio.CancelledError:
            outcome = Outcome(ask=ask, reason="cut off")
        except EndpointError as problem:
            outcome = Outcome(ask=ask, fatal=problem, bill=NOTHING)
        except Exception as problem:  # noqa: BLE001  the border of the thread: whatever it is, the caller must see it
            outcome = Outcome(ask=ask, fatal=problem)
        self._done.put(outcome)

    async def _exchange(self, ask: Ask) -> Outcome:
        try:
            if isinstance(ask.job, Rate):
                return await self._rate(ask, ask.job)
            path, payload = self._request(ask)
            status, headers, body = await self._post(path, payload)
        except aiohttp.ClientConnectorCertificateError as problem:
            raise self._tls_error(problem) from None
        except aiohttp.ClientSSLError as problem:
            raise self._tls_error(problem) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as problem:
            return Outcome(ask=ask, reason=self._words(str(problem)), unreachable=True, bill=NOTHING)
        except TimeoutError:
            return Outcome(ask=ask, reason=f"no answer within {self.address.timeout_s:g} s", pushed_back=True)
        except aiohttp.ClientError as problem:
            return Outcome(ask=ask, reason=self._words(f"{type(problem).__name__}: {problem}"))
        if status != 200:
            return await self._error(ask, status, headers, body)
        try:
            reply = replies.read(body)
            if isinstance(ask.job, Place):
                answers, bill = replies.vectors(reply, ask.job.texts)
                return Outcome(ask=ask, answers=answers, bill=bill)
            answers, bill = replies.completions(reply, ask.job)
        except Malformed as problem:
            return self._nonsense(ask, body, str(problem))
        if not answers:
            return Outcome(ask=ask, reason="the reply has no choices", bill=bill)
        if ask.job.sampling.schema is not None:
            return self._fitted(ask, ask.job, answers, bill)
        return Outcome(ask=ask, answers=answers, bill=bill)

    def _request(self, ask: Ask) -> tuple[str, dict[str, Any]]:
        address = self.address
        if isinstance(ask.job, Place):
            return "/embeddings", {"model": address.model, "input": list(ask.job.texts), "encoding_format": "float"}
        if isinstance(ask.job, Rate):
            raise InternalError("scoring has requests of its own")
        prompt, sampling, count = ask.job.prompt, ask.job.sampling, ask.job.count
        payload: dict[str, Any] = {"model": address.model, address.tokens_field: sampling.max_tokens, "temperature": sampling.temperature}
        if sampling.temperature > 0:
            if sampling.top_p < 1:
                payload["top_p"] = sampling.top_p
            if sampling.seed is not None:
                payload["seed"] = derive(sampling.seed, "endpoint", ask.job.index) & 0x7FFF_FFFF
        if count > 1:
            payload["n"] = count
        if sampling.stop:
            payload["stop"] = list(sampling.stop)
        if address.effort is not None:
            payload["reasoning_effort"] = address.effort
        if address.api == "completions":
            payload["prompt"] = prompt.text
            if sampling.logprobs:
                payload["logprobs"] = 1
            if sampling.schema is not None:
                raise CapabilityError("plain completions have no structured output", got=self.where, fix="use api=chat")
            return "/completions", payload | dict(address.extra)
        payload["messages"] = [{"role": m.role, "content": m.content} for m in prompt.messages] + (ask.state or [])
        if sampling.logprobs:
            payload["logprobs"] = True
        if sampling.schema is not None:
            schema = self._schemas[sampling.schema]
            payload["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
        return "/chat/completions", payload | dict(address.extra)

    async def _post(self, path: str, payload: dict[str, Any], *, base: str | None = None) -> tuple[int, Any, bytes]:
        url = (base if base is not None else self.address.base) + path
        async with self._line.session().post(url, data=orjson.dumps(payload), allow_redirects=False, proxy=self._proxy) as response:
            # Scrubbed before it is bound to any name: some servers quote the key, and tracebacks may show local variables.
            return response.status, response.headers, self._key.scrub_bytes(await response.read())

    async def _models(self) -> list[str]:
        try:
            async with self._line.session().get(self.address.base + "/models", allow_redirects=False, proxy=self._proxy) as response:
                rows = orjson.loads(await response.read())["data"] if response.status == 200 else []
                return [str(row["id"]) for row in rows]
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, KeyError, TypeError):
            return []

    def _nonsense(self, ask: Ask, body: bytes, what: str) -> Outcome:
        """A reply with status 200 that is not an answer. Something was computed for it, most likely."""
        if body.lstrip()[:1] == b"<":
            error = EndpointError(
                f"endpoint {self.where} answered with a web page instead of JSON",
                got=self._words(body.decode(errors="replace")[:80]),
                fix="the base URL usually ends in /v1; a proxy or login page may also stand in between",
            )
            return Outcome(ask=ask, fatal=error, bill=NOTHING)
        return Outcome(ask=ask, reason=f"unusable reply: {self._words(what)}")

    async def _error(self, ask: Ask, status: int, headers: Any, body: bytes) -> Outcome:
        code, words = replies.error_words(body)
        said = self._words(f"HTTP {status}: {words}")
        bill = NOTHING if status in _NOT_BILLED or 300 <= status < 400 else None
        if status in (401, 403):
            key = f"the key in {self._key.name}" if self._key else f"no key (looked for {self._key.name} in the environment and .env)"
            raise EndpointError(f"endpoint {self.where} refuses {key}", got=said, fix=f"put a valid key into {self._key.name}")
        if status == 402 or code in ("insufficient_quota", "billing_hard_limit_reached"):
            raise EndpointError(
                f"endpoint {self.where} says the account has no credit left", got=said, fix="the run can be continued later"
            )
        if 300 <= status < 400:
            raise EndpointError(f"endpoint {self.where} redirects", got=headers.get("Location", "")[:200], fix="name the final address")
        if status in (404, 405):
            raise await self._absent(said)
        if status in (400, 413, 422):
            return self._refused(ask, code, words, said)
        if status in _TOO_BUSY:
            return Outcome(
                ask=ask, reason=said, pushed_back=True, counts=status != 429, wait_s=_named_wait_s(headers, time.time()), bill=bill
            )
        return Outcome(ask=ask, reason=said, wait_s=_named_wait_s(headers, time.time()), bill=bill)

    async def _absent(self, said: str) -> EndpointError:
        served = await self._models()
        if served and self.address.model not in served:
            names = ", ".join(served[:20]) + (f" and {len(served) - 20} more" if len(served) > 20 else "")
            return EndpointError(f"endpoint {self.address.base} does not serve '{self.address.model}'", got=said, fix=f"it serves: {names}")
        return EndpointError(
            f"endpoint {self.where} has no such route",
            got=said,
            fix="the base URL usually ends in /v1; api=chat or api=completions may be missing there",
        )

    def _refused(self, ask: Ask, code: str, words: str, said: str) -> Outcome:
        lower = words.lower()
        row: dict[str, Any] = {"text": "", "finish": "error", "prompt_tokens": 0, "completion_tokens": 0}
        if code == "context_length_exceeded" or "context length" in lower or "context window" in lower or "maximum context" in lower:
            return Outcome(ask=ask, row_error=row | {"error": f"longer than the model's context: {said}"}, bill=NOTHING)
        if code in ("content_filter", "content_policy_violation"):
            return Outcome(
                ask=ask, row_error=row | {"finish": "refusal", "error": f"refused by the provider's filter: {said}"}, bill=NOTHING
            )
        return Outcome(ask=ask, row_error=row | {"error": f"refused by the endpoint: {said}"}, refused=True, bill=NOTHING)

    def _fitted(self, ask: Ask, job: Draw, answers: list[dict[str, Any]], bill: Usage | None) -> Outcome:
        """The answers if all fit their schema; else one more turn that names the fault, as often as allowed; then the fault as data."""
        schema = self._schemas[job.sampling.schema or ""]
        faults = [_fault(answer, schema) for answer in answers]
        turns = ask.state or []
        if any(faults) and len(answers) == 1 and len(turns) < 2 * self.address.repairs and answers[0]["finish"] != "refusal":
            said, fault = answers[0]["text"], faults[0]
            ask.state = [
                *turns,
                {"role": "assistant", "content": said},
                {"role": "user", "content": f"That did not fit: {fault}. Answer again with nothing but JSON that fits the schema."},
            ]
            ask.prompt_bytes += sum(len(t["content"].encode()) + _TURN_TOKENS for t in ask.state[-2:])
            ask.billed = ask.billed + (bill or NOTHING)
            ask.worst = Usage(calls=1, prompt_tokens=ask.prompt_bytes, completion_tokens=job.sampling.max_tokens)
            return Outcome(ask=ask, reason=f"does not fit the schema: {fault}", at_once=True, bill=bill)
        for answer, fault in zip(answers, faults, strict=True):
            # What the repairs cost belongs to the answer they led to.
            answer["prompt_tokens"] += ask.billed.prompt_tokens
            answer["completion_tokens"] += ask.billed.completion_tokens
            if fault is not None:
                answer |= {"finish": "refusal" if answer["finish"] == "refusal" else "error", "error": f"does not fit the schema: {fault}"}
        return Outcome(ask=ask, answers=answers, bill=bill)

    async def _rate(self, ask: Ask, job: Rate) -> Outcome:
        """Log-probabilities of given text. The prompt's tokens and the text's are made apart and put together."""
        common = {"model": self.address.model, "max_tokens": 1, "temperature": 0}
        if self.address.score == "ids":
            if ask.state is None:
                messages = [{"role": m.role, "content": m.content} for m in job.prompt.messages]
                asked = {"messages": messages, "add_generation_prompt": True} if self.address.api == "chat" else {"prompt": job.prompt.text}
                head = await self._token_ids(asked)
                ask.state = (head, await self._token_ids({"prompt": job.text, "add_special_tokens": False}))
            head, tail = ask.state
            payload = common | {"prompt": head + tail, "prompt_logprobs": 0}
            status, headers, body = await self._post("/completions", payload)
        else:
            head, tail = [], []
            payload = common | {"prompt": job.prompt.text + job.text, "echo": True, "logprobs": 1}
            status, headers, body = await self._post("/completions", payload)
        if status != 200:
            return await self._error(ask, status, headers, body)
        try:
            reply = replies.read(body)
            if self.address.score == "ids":
                answer, bill = replies.scored_ids(reply, len(head), tail)
            else:
                answer, bill = replies.scored_echo(reply, len(job.prompt.text), len(job.text))
        except Malformed as problem:
            return self._nonsense(ask, body, str(problem))
        if answer is None:
            wanted = "prompt_logprobs" if self.address.score == "ids" else "log-probabilities with echo"
            error = CapabilityError(
                f"endpoint {self.where} answers completions, but without {wanted}", got=f"score={self.address.score}",
                fix="serve the model with vLLM and use ?score=ids, or use hf: for this role",
            )  # fmt: skip
            return Outcome(ask=ask, fatal=error, bill=bill)
        return Outcome(ask=ask, answers=[answer], bill=bill)

    async def _token_ids(self, asked: dict[str, Any]) -> list[int]:
        root = self.address.base.removesuffix("/v1")
        status, _, body = await self._post("/tokenize", {"model": self.address.model, **asked}, base=root)
        try:
            return [int(i) for i in orjson.loads(body)["tokens"]] if status == 200 else self._no_tokenizer(status)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return self._no_tokenizer(status)

    def _no_tokenizer(self, status: int) -> list[int]:
        raise CapabilityError(
            f"endpoint {self.where} has no /tokenize, which score=ids needs", got=f"HTTP {status}",
            fix="use ?score=echo where its completions echo log-probabilities, or hf: for this role",
        )  # fmt: skip

    def _tls_error(self, problem: Exception) -> EndpointError:
        return EndpointError(
            f"endpoint {self.where} has no connection that can be trusted", got=self._words(str(problem)),
            fix="correct the address, or name the certificate authority in SSL_CERT_FILE",
        )  # fmt: skip

    def _words(self, text: str) -> str:
        text = self._key.scrub(" ".join(text.split()))
        return text if len(text) <= _WORDS else text[: _WORDS - 3] + "..."


def _draws(prompts: Iterable[Prompt], sampling: Sampling, together: int) -> Iterable[tuple[Draw, int]]:
    for prompt in prompts:
        for index in range(0, sampling.n, together):
            count = min(together, sampling.n - index)
            yield Draw(prompt=prompt, sampling=sampling, index=index, count=count), count


def _prompt_bytes(prompt: Prompt) -> int:
    return _FRAME_TOKENS + sum(len(m.content.encode()) + _TURN_TOKENS for m in prompt.messages)


def _fault(answer: dict[str, Any], schema: dict[str, Any]) -> str | None:
    try:
        return misfit(json_in(answer["text"]), schema)
    except ValueError as problem:
        return str(problem)


def _named_wait_s(headers: Any, now_s: float) -> float | None:
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


def _proxy_for(address: Address) -> str | None:
    """The user's proxy, never for this machine itself."""
    if address.is_local or urllib.request.proxy_bypass(address.host):
        return None
    scheme = address.base.partition("://")[0]
    return urllib.request.getproxies().get(scheme)
