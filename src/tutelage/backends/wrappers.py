"""Role wrappers around any back end: remember every answer, count every call, keep the budget.

`Cached` implements the same protocols as what it wraps. It looks up what is known and asks only for the rest, and it opens the back end
at the first answer that is not known: a run whose answers are all there loads no model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from tutelage.capabilities import Completion, Embeds, Generates, Sampling, Scores, TokenScores
from tutelage.errors import CapabilityError, InternalError
from tutelage.hashing import canonical, digest
from tutelage.journal.cache import CallCache
from tutelage.journal.ledger import Ledger, Usage, total
from tutelage.journal.prices import FREE, Price
from tutelage.records import ModelRef, Prompt

FORMAT = 1
"""Part of every key. Raise it when the meaning of a stored answer changes."""
CHUNK = 256
"""Requests that an in-process back end computes and commits as one, cut before the cache is looked at."""

Progress = Callable[[int, int], None]
"""Called with (done, total) in answers."""
Call = dict[str, Any]
"""All that could change one answer, as JSON; its digest is the key, and it is stored beside the answer for export and verification."""


class Cached:
    """`generate`, `score` and `embed` through the call cache and the ledger, for one role in one arm."""

    def __init__(
        self,
        open_backend: Callable[[], object],
        ref: ModelRef,
        *,
        cache: CallCache,
        ledger: Ledger,
        role: str,
        arm: str = "",
        price: Price | None = FREE,
        options: Mapping[str, Any] | None = None,
        chunk: int = CHUNK,
        progress: Progress | None = None,
    ) -> None:
        """`open_backend` is called once, at the first unknown answer. `options`: settings of the back end that could change an answer;
        they enter the key. `price`: None where it is unknown (money is then not counted)."""
        self.ref = ref
        self.role = role
        self.arm = arm
        self._open_backend = open_backend
        self._backend: object | None = None
        self._cache = cache
        self._ledger = ledger
        self._price = price
        self._options = dict(options or {})
        self._chunk = chunk
        self._progress = progress

    @property
    def opened(self) -> bool:
        """Whether the back end was needed so far."""
        return self._backend is not None

    @property
    def backend(self) -> object:
        """The wrapped back end, opened now if it was not yet."""
        if self._backend is None:
            self._backend = self._open_backend()
        return self._backend

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """As the back end's; every completion is durable before it is returned."""
        indices = range(sampling.n)
        settings = sampling_json(sampling)
        calls = [self._call("generate", {"prompt": prompt_json(p), "sampling": settings, "index": i}) for p in prompts for i in indices]
        worst = [self._worst(p, sampling.max_tokens) for p in prompts for _ in indices]

        def compute(start: int, end: int) -> list[dict[str, Any]]:
            model = self._needs(Generates, "generate")
            rows = model.generate(prompts[start // sampling.n : end // sampling.n], sampling)
            return [completion_json(c) for row in rows for c in row]

        answers = self._answers(calls, worst, compute, per_chunk=self._chunk * sampling.n)
        flat = [completion_from(a) for a in answers]
        self._count(sum(c.prompt_tokens for c in flat), sum(c.completion_tokens for c in flat), len(flat))
        return [flat[i : i + sampling.n] for i in range(0, len(flat), sampling.n)]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]:
        """As the back end's; one scored sequence is one call."""
        pairs = list(zip(prompts, completions, strict=True))
        calls = [self._call("score", {"prompt": prompt_json(p), "text": c}) for p, c in pairs]
        worst = [self._worst(p, 0, c) for p, c in pairs]

        def compute(start: int, end: int) -> list[dict[str, Any]]:
            model = self._needs(Scores, "score")
            return [scores_json(s) for s in model.score(prompts[start:end], completions[start:end])]

        scores = [scores_from(a) for a in self._answers(calls, worst, compute, per_chunk=self._chunk)]
        self._count(sum(s.prompt_tokens + len(s.logprobs) for s in scores), 0, len(scores))
        return scores

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """As the back end's; one embedded text is one call. Tokens of embeddings are known from endpoints only."""
        calls = [self._call("embed", {"text": t}) for t in texts]
        worst = [self._worst(None, 0, t) for t in texts]

        def compute(start: int, end: int) -> list[dict[str, Any]]:
            model = self._needs(Embeds, "embed")
            return [{"vector": list(v)} for v in model.embed(texts[start:end])]

        answers = self._answers(calls, worst, compute, per_chunk=self._chunk)
        self._count(sum(a.get("prompt_tokens", 0) for a in answers), 0, len(answers))
        return [tuple(a["vector"]) for a in answers]

    def close(self) -> None:
        """Close the back end, where it was opened and has something to close."""
        close = getattr(self._backend, "close", None)
        if close is not None:
            close()
        self._backend = None

    def _call(self, kind: str, body: Call) -> Call:
        call = {"format": FORMAT, "kind": kind, "model_id": self.ref.id, **body}
        return call | {"options": self._options} if self._options else call

    def _needs(self, capability: Any, verb: str) -> Any:
        backend = self.backend
        if not isinstance(backend, capability):
            raise CapabilityError(
                f"role '{self.role}' must {verb}, and its model cannot", got=self.ref.name, fix="choose another model for it"
            )
        return backend

    def _worst(self, prompt: Prompt | None, max_tokens: int, text: str = "") -> Usage:
        """An upper bound for one call: no tokenizer makes more tokens than the text has bytes; templates add some around each turn."""
        turns = prompt.messages if prompt is not None else ()
        tokens = sum(len(m.content.encode()) + _TURN_TOKENS for m in turns) + len(text.encode()) + _FRAME_TOKENS
        money = (self._price or FREE).picodollars(prompt_tokens=tokens, completion_tokens=max_tokens)
        return Usage(calls=1, prompt_tokens=tokens, completion_tokens=max_tokens, picodollars=money)

    def _count(self, prompt_tokens: int, completion_tokens: int, calls: int) -> None:
        money = (self._price or FREE).picodollars(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        amount = Usage(calls=calls, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, picodollars=money)
        self._ledger.count(self.role, self.arm, amount)

    def _answers(self, calls: list[Call], worst: list[Usage], compute: Compute, *, per_chunk: int) -> list[dict[str, Any]]:
        """The answers in order, from the cache or computed; whatever is computed is committed before it is used."""
        keys = [digest(call) for call in calls]
        known = {key: read_answer(body) for key, body in self._cache.get_many(keys).items()}
        if any(key not in known for key in keys):
            self._by_chunks(keys, calls, worst, compute, known, per_chunk)
        elif self._progress:
            self._progress(len(keys), len(keys))
        return [known[key] for key in keys]

    def _by_chunks(
        self, keys: list[bytes], calls: list[Call], worst: list[Usage], compute: Compute, known: dict[bytes, dict[str, Any]], per_chunk: int
    ) -> None:
        for start in range(0, len(keys), per_chunk):
            end = min(start + per_chunk, len(keys))
            if any(key not in known for key in keys[start:end]):
                reserved = total(worst[start:end])
                if self._ledger.reserve(self.role, self.arm, [reserved]) == 0:
                    raise self._ledger.exhausted(self.role, missing=f"{len(keys) - start:,} of {len(keys):,} answers", needed=reserved)
                began_s = time.perf_counter()
                try:
                    answers = compute(start, end)
                except BaseException:
                    # Work in this process has no bill: what was not finished cost nothing that counts.
                    self._ledger.settle(self.role, self.arm, reserved)
                    raise
                if len(answers) != end - start:
                    raise InternalError("back end returned the wrong number of answers", got=f"{len(answers)} for {end - start} requests")
                bodies = {keys[i]: write_body(self.ref.name, calls[i], answers[i - start]) for i in range(start, end)}
                # An answer that is known already stays, whatever the chunk made of it: a replay will see the old one.
                kept = self._cache.put_many(bodies.items())
                for key, body in bodies.items():
                    known.setdefault(key, read_answer(kept.get(key, body)))
                self._ledger.settle(self.role, self.arm, reserved, spent=self._spent(answers, time.perf_counter() - began_s))
            if self._progress:
                self._progress(end, len(keys))

    def _spent(self, answers: Sequence[Mapping[str, Any]], elapsed_s: float) -> Usage:
        prompt = sum(a.get("prompt_tokens", 0) + len(a.get("scored", ())) for a in answers)
        completion = sum(a.get("completion_tokens", 0) for a in answers)
        money = (self._price or FREE).picodollars(prompt_tokens=prompt, completion_tokens=completion)
        return Usage(
            calls=len(answers), prompt_tokens=prompt, completion_tokens=completion, picodollars=money, microseconds=round(elapsed_s * 1e6)
        )


Compute = Callable[[int, int], list[dict[str, Any]]]
"""Answers, as JSON, of the calls from `start` to `end`."""

_TURN_TOKENS = 16
_FRAME_TOKENS = 64
"""Role markers around a turn; a template's own opening (some add a date or a standing instruction)."""


def prompt_json(prompt: Prompt) -> list[list[str]]:
    """The content of a prompt: (role, text) of every turn."""
    return [[m.role, m.content] for m in prompt.messages]


def sampling_json(sampling: Sampling) -> dict[str, Any]:
    """What of the sampling can change an answer: not `n`, and the seed only where something is drawn."""
    row: dict[str, Any] = {"max_tokens": sampling.max_tokens, "temperature": float(sampling.temperature), "stop": list(sampling.stop)}
    if sampling.temperature > 0:
        row |= {"top_p": float(sampling.top_p), "seed": sampling.seed}
    if sampling.logprobs:
        row["logprobs"] = True
    return row


def write_body(model: str, call: Call, answer: Mapping[str, Any]) -> bytes:
    """What the cache keeps: the answer, the question that hashes to the key, and the model's name for people."""
    return b'{"answer":' + orjson.dumps(answer) + b',"call":' + canonical(call) + b',"model":' + orjson.dumps(model) + b"}"


def read_answer(body: bytes) -> dict[str, Any]:
    return orjson.loads(body)["answer"]


def completion_json(completion: Completion) -> dict[str, Any]:
    row: dict[str, Any] = {
        "text": completion.text,
        "finish": completion.finish,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }
    if completion.logprobs is not None:
        row["logprobs"] = _finite(completion.logprobs)
    if completion.reasoning is not None:
        row["reasoning"] = completion.reasoning
    if completion.error is not None:
        row["error"] = completion.error
    return row


def completion_from(row: Mapping[str, Any]) -> Completion:
    logprobs = row.get("logprobs")
    return Completion(
        text=row["text"],
        finish=row["finish"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        logprobs=None if logprobs is None else _from_finite(logprobs),
        reasoning=row.get("reasoning"),
        error=row.get("error"),
    )


def scores_json(scores: TokenScores) -> dict[str, Any]:
    return {"scored": _finite(scores.logprobs), "prompt_tokens": scores.prompt_tokens}


def scores_from(row: Mapping[str, Any]) -> TokenScores:
    return TokenScores(logprobs=_from_finite(row["scored"]), prompt_tokens=row["prompt_tokens"])


def _finite(logprobs: Sequence[float]) -> list[float | None]:
    """JSON has no infinity: an impossible token's log-probability is written as null."""
    if any(math.isnan(x) for x in logprobs):
        raise InternalError("back end returned NaN as a log-probability")
    return [None if x == -math.inf else x for x in logprobs]


def _from_finite(logprobs: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(-math.inf if x is None else x for x in logprobs)
