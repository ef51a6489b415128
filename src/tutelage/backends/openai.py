"""OpenAI-compatible endpoints: a provider, vLLM, SGLang, llama.cpp, `transformers serve`.

The back end lives on a thread of its own with an event loop; callers see plain synchronous methods. It sends one attempt at a time and
says what became of it; whether to try again is the pump's business.
"""

from __future__ import annotations

import asyncio
import queue
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import aiohttp

from tutelage.backends import replies
from tutelage.backends.address import Address, key_of
from tutelage.backends.answers import completion_from, scores_from, vector_from
from tutelage.backends.asks import Ask, Draw, Outcome, Patience, Place, Rate
from tutelage.backends.bounds import FRAME_TOKENS, TURN_TOKENS, most_prompt_tokens, most_tokens
from tutelage.backends.line import Line
from tutelage.backends.pacing import Pace, Rates
from tutelage.backends.pump import Pump
from tutelage.backends.refusals import ABSENT, Refusals
from tutelage.backends.replies import Malformed
from tutelage.backends.schema import json_in, misfit, read_schema
from tutelage.backends.scoring import rate
from tutelage.capabilities import Completion, ModelFacts, Sampling, TokenScores
from tutelage.errors import CapabilityError, EndpointError, InternalError
from tutelage.journal.amounts import NOTHING, Usage, of_calls
from tutelage.journal.ledger import Ledger
from tutelage.records import ModelRef, Prompt
from tutelage.seeds import derive


def facts_of(address: Address) -> ModelFacts:
    """What an endpoint can do, by its address alone."""
    can = {"generate", "embed"} | ({"score"} if address.score != "none" else set())
    return ModelFacts(capabilities=frozenset(can), family="endpoint", dialect=address.dialect, chat_template=address.api == "chat")


class OpenAIBackend:
    """`generate`, `score` and `embed` over HTTP. Wrapped in `Cached` it is driven answer by answer; alone it answers whole lists."""

    def __init__(self, ref: ModelRef, **options: Any) -> None:
        """`options`: the fields of `Address`, over what the model's name says."""
        self.address = Address.parse(ref.name).having(options)
        self.where = f"{self.address.base} (model {self.address.model})"
        self.samples_together = self.address.samples
        self.texts_together = self.address.texts
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
        self._arrived: list[Outcome] = []
        """Of the present turn of the event loop."""
        self._done: queue.SimpleQueue[list[Outcome]] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        key = key_of(self.address)
        self._line = Line(self.address, key)
        self._refusals = Refusals(address=self.address, where=self.where, key=key)
        # Whoever forgets `close` must not leave sockets and a thread behind.
        weakref.finalize(self, self._line.shut)
        self._schemas: dict[str, dict[str, Any]] = {}

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
            size = sum(most_tokens(t) + FRAME_TOKENS for t in job.texts)
            worst = of_calls(len(job.texts), size, 0)
        elif isinstance(job, Rate):
            if self.address.score == "none":
                raise CapabilityError(
                    "this endpoint was not said to return log-probabilities of given text",
                    got=self.where,
                    fix="add ?score=ids (vLLM, SGLang) or ?score=echo (completions that echo) to its base URL, or use hf: for this role",
                )
            size = most_prompt_tokens(job.prompt) + most_tokens(job.text)
            worst = of_calls(1, size, 1)
        else:
            if job.sampling.schema is not None and job.sampling.schema not in self._schemas:
                self._schemas[job.sampling.schema] = read_schema(job.sampling.schema)
            if job.sampling.schema is not None and self.address.api == "completions":
                raise CapabilityError("plain completions have no structured output", got=self.where, fix="use api=chat")
            size = most_prompt_tokens(job.prompt) + most_tokens(job.sampling.schema or "")
            worst = of_calls(job.count, size, job.sampling.max_tokens * job.count)
        return Ask(slots=slots, job=job, worst=worst, prompt_bytes=size)

    # The pump's side: called from the caller's thread

    def send(self, asks: Sequence[Ask]) -> None:
        self._line.running().call_soon_threadsafe(self._start, list(asks))

    def collect(self, timeout_s: float, gather_s: float = 0.0) -> list[Outcome]:
        """All outcomes that have come. Waits for the first, and then for `gather_s` for others."""
        try:
            outcomes = self._done.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return []
        if gather_s > 0:
            time.sleep(gather_s)
        while not self._done.empty():
            outcomes += self._done.get_nowait()
        return outcomes

    def cancel(self) -> list[Outcome]:
        """Stop whatever is under way. Returns the outcomes that had come and were not collected, and those that were cut off."""
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._line.running()).result()
        return self.collect(0.0)

    def close(self) -> None:
        """Close connections and end the thread. What is under way is cut off."""
        if self._line.is_open:
            self.cancel()
            self._line.shut()

    def models(self) -> list[str]:
        """What the endpoint says it serves; empty where it does not say."""
        return asyncio.run_coroutine_threadsafe(self._line.models(), self._line.running()).result()

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
        self._hand_over()

    async def _attempt(self, ask: Ask) -> None:
        try:
            outcome = await self._exchange(ask)
        except asyncio.CancelledError:
            outcome = Outcome(ask=ask, reason="cut off")
        except (EndpointError, CapabilityError) as problem:
            outcome = Outcome(ask=ask, fatal=problem, bill=NOTHING)
        except Exception as problem:  # noqa: BLE001  the border of the thread: whatever it is, the caller must see it
            outcome = Outcome(ask=ask, fatal=problem)
        # Handed over together at the end of a turn of the loop: each waking of the caller's thread costs more than one outcome.
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._arrived.append(outcome)

    def _hand_over(self) -> None:
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            self._done.put(arrived)

    async def _exchange(self, ask: Ask) -> Outcome:
        try:
            if isinstance(ask.job, Rate):
                return await rate(ask, ask.job, address=self.address, line=self._line, refusals=self._refusals)
            path, payload = self._request(ask)
            status, headers, body = await self._line.post(path, payload)
        except (aiohttp.ClientError, TimeoutError) as problem:
            return self._refusals.of_connection(ask, problem)
        if status != 200:
            return self._refusals.of_status(ask, status, headers, body, served=await self._line.models() if status in ABSENT else ())
        try:
            reply = replies.read(body)
            if isinstance(ask.job, Place):
                answers, bill = replies.vectors(reply, ask.job.texts)
                return Outcome(ask=ask, answers=answers, bill=bill)
            answers, bill = replies.completions(reply, ask.job)
        except Malformed as problem:
            return self._refusals.of_nonsense(ask, body, str(problem))
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
            return "/completions", payload | dict(address.extra)
        payload["messages"] = [{"role": m.role, "content": m.content} for m in prompt.messages] + (ask.state or [])
        if sampling.logprobs:
            payload["logprobs"] = True
        if sampling.schema is not None:
            schema = self._schemas[sampling.schema]
            payload["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
        return "/chat/completions", payload | dict(address.extra) if address.extra else payload

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
            ask.prompt_bytes += sum(len(t["content"].encode()) + TURN_TOKENS for t in ask.state[-2:])
            ask.billed = ask.billed + (bill or NOTHING)
            ask.worst = of_calls(1, ask.prompt_bytes, job.sampling.max_tokens)
            return Outcome(ask=ask, reason=f"does not fit the schema: {fault}", at_once=True, bill=bill)
        for answer, fault in zip(answers, faults, strict=True):
            # What the repairs cost belongs to the answer they led to.
            answer["prompt_tokens"] += ask.billed.prompt_tokens
            answer["completion_tokens"] += ask.billed.completion_tokens
            if fault is not None:
                answer |= {"finish": "refusal" if answer["finish"] == "refusal" else "error", "error": f"does not fit the schema: {fault}"}
        return Outcome(ask=ask, answers=answers, bill=bill)


def _draws(prompts: Iterable[Prompt], sampling: Sampling, together: int) -> Iterable[tuple[Draw, int]]:
    for prompt in prompts:
        for index in range(0, sampling.n, together):
            count = min(together, sampling.n - index)
            yield Draw(prompt=prompt, sampling=sampling, index=index, count=count), count


def _fault(answer: dict[str, Any], schema: dict[str, Any]) -> str | None:
    try:
        return misfit(json_in(answer["text"]), schema)
    except ValueError as problem:
        return str(problem)
