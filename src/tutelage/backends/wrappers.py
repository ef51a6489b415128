"""Role wrappers around any back end: remember every answer, count every call, keep the budget.

`Cached` implements the same protocols as what it wraps. It looks up what is known and asks only for the rest, and it opens the back end
at the first answer that is not known: a run whose answers are all there loads no model.

A back end in this process gets the request list in chunks that are cut before the cache is looked at; a chunk is computed whole and
committed whole. An endpoint is asked answer by answer, and each is on the disk before it is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tutelage.backends.answers import (
    Answer,
    Call,
    completion_from,
    completion_json,
    prompt_json,
    read_answer,
    sampling_json,
    scores_from,
    scores_json,
    vector_from,
    vector_json,
    write_body,
)
from tutelage.backends.asks import AnswersEach, Ask, Draw, Place, Rate
from tutelage.backends.bounds import FRAME_TOKENS, most_prompt_tokens, most_tokens
from tutelage.backends.pump import Pump
from tutelage.capabilities import Classifies, Completion, Embeds, Generates, Rewards, Sampling, Scores, TokenScores
from tutelage.errors import CapabilityError, InternalError, SettingsError
from tutelage.hashing import digest
from tutelage.journal.amounts import Usage, priced, total
from tutelage.journal.cache import CallCache
from tutelage.journal.ledger import Ledger
from tutelage.journal.prices import FREE, Price, load_prices
from tutelage.records import ModelRef, Prompt

FORMAT = 1
"""Part of every key. Raise it when the meaning of a stored answer changes."""
CHUNK = 512
"""Prompts that an in-process back end computes and commits as one. Measured with the bundled student in front of 256 x 12 one-shot prompts:
512 take 0.86 of the time of 256, and larger ones no less."""
_CHUNKS_PER_BLOCK = 16
"""Of `stream`: what is held in memory at a time."""
_KEYS_AT_ONCE = 2_000

Progress = Callable[[int, int], None]
"""Called with (done, total) in answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One call of one method, as single answers numbered from 0. Questions are made when needed: a list of them would not fit memory."""

    count: int
    call: Callable[[int], Call]
    worst: Callable[[int], Usage]
    decode: Callable[[Mapping[str, Any]], Any]
    compute: Callable[[int, int], list[Answer]]
    """Answers from one number up to another, by a back end of this process."""
    jobs: Callable[[Sequence[int], AnswersEach], Iterator[tuple[Draw | Rate | Place, tuple[int, ...]]]]
    """Requests for the numbered answers, for an endpoint."""
    per_chunk: int


class Cached:
    """`generate`, `score`, `embed`, `classify` and `reward` through the call cache and the ledger, for one role in one arm."""

    def __init__(
        self,
        open_backend: Callable[[], object],
        ref: ModelRef,
        *,
        cache: CallCache,
        ledger: Ledger,
        role: str,
        arm: str = "",
        price: Price | None = None,
        options: Mapping[str, Any] | None = None,
        chunk: int = CHUNK,
        progress: Progress | None = None,
    ) -> None:
        """`open_backend` is called once, at the first unknown answer. `options`: settings of the back end that could change an answer;
        they enter the key. `price`: by default nothing for models of this process, and the list's for endpoints."""
        self.ref = ref
        self.role = role
        self.arm = arm
        self._open_backend = open_backend
        self._backend: object | None = None
        self._cache = cache
        self._ledger = ledger
        self._price = price or price_of(ref)
        self._about = {"format": FORMAT, "model_id": ref.id} | ({"options": dict(options)} if options else {})
        self._chunk = chunk
        self._progress = progress
        if self._price is None and ledger.budget.picodollars is not None and role in ledger.budgeted:
            raise SettingsError(
                f"budget in usd, but the price of the model in role '{role}' is not known",
                got=ref.name,
                fix="name a TOML file with its price in TUTELAGE_PRICES, or cap calls or tokens instead",
            )

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
        n, settings = sampling.n, sampling_json(sampling)

        def compute(start: int, end: int) -> list[Answer]:
            model = self._needs(Generates, "generate")
            rows = model.generate(prompts[start // n : end // n], sampling)
            return [completion_json(c) for row in rows for c in row]

        def jobs(missing: Sequence[int], backend: AnswersEach) -> Iterator[tuple[Draw, tuple[int, ...]]]:
            for slots in _runs(missing, n, backend.samples_together):
                yield Draw(prompt=prompts[slots[0] // n], sampling=sampling, index=slots[0] % n, count=len(slots)), slots

        flat: list[Completion] = self._answers(
            _Work(
                count=len(prompts) * n,
                call=lambda i: self._call("generate", {"prompt": prompt_json(prompts[i // n]), "sampling": settings, "index": i % n}),
                worst=lambda i: self.worst(prompts[i // n], sampling.max_tokens),
                decode=completion_from,
                compute=compute,
                jobs=jobs,
                per_chunk=self._chunk * n,
            )
        )
        self._count(sum(c.prompt_tokens for c in flat), sum(c.completion_tokens for c in flat), len(flat))
        return [flat[i : i + n] for i in range(0, len(flat), n)]

    def stream(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[list[Completion]]:
        """The same for any number of prompts, holding only some thousands of them and their answers in memory."""
        source = iter(prompts)
        while block := list(islice(source, self._chunk * _CHUNKS_PER_BLOCK)):
            yield from self.generate(block, sampling)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]:
        """As the back end's; one scored sequence is one call."""
        if len(prompts) != len(completions):
            raise InternalError("every prompt needs one completion to score", got=f"{len(prompts)} and {len(completions)}")

        def compute(start: int, end: int) -> list[Answer]:
            model = self._needs(Scores, "score")
            return [scores_json(s) for s in model.score(prompts[start:end], completions[start:end])]

        scores: list[TokenScores] = self._answers(
            _Work(
                count=len(prompts),
                call=lambda i: self._call("score", {"prompt": prompt_json(prompts[i]), "text": completions[i]}),
                worst=lambda i: self.worst(prompts[i], 0, completions[i]),
                decode=scores_from,
                compute=compute,
                jobs=lambda missing, _: ((Rate(prompt=prompts[i], text=completions[i]), (i,)) for i in missing),
                per_chunk=self._chunk,
            )
        )
        self._count(sum(s.prompt_tokens + len(s.logprobs) for s in scores), 0, len(scores))
        return scores

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """As the back end's; one embedded text is one call."""

        def compute(start: int, end: int) -> list[Answer]:
            model = self._needs(Embeds, "embed")
            return [vector_json(v) for v in model.embed(texts[start:end])]

        def jobs(missing: Sequence[int], backend: AnswersEach) -> Iterator[tuple[Place, tuple[int, ...]]]:
            for first in range(0, len(missing), backend.texts_together):
                slots = tuple(missing[first : first + backend.texts_together])
                yield Place(texts=tuple(texts[i] for i in slots)), slots

        rows: list[tuple[tuple[float, ...], int]] = self._answers(
            _Work(
                count=len(texts),
                call=lambda i: self._call("embed", {"text": texts[i]}),
                worst=lambda i: self.worst(None, 0, texts[i]),
                # Tokens of an embedding are known from endpoints only.
                decode=lambda row: (vector_from(row), row.get("prompt_tokens", 0)),
                compute=compute,
                jobs=jobs,
                per_chunk=self._chunk,
            )
        )
        self._count(sum(tokens for _, tokens in rows), 0, len(rows))
        return [vector for vector, _ in rows]

    def classify(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """As the back end's; one classified text is one call. Endpoints have no class heads."""

        def ask(model: Any, start: int, end: int) -> list[tuple[float, ...]]:
            return model.classify(texts[start:end])

        return self._vectors("classify", Classifies, [{"text": text} for text in texts], [(None, text) for text in texts], ask)

    def reward(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
        """As the back end's; one rated completion is one call. Endpoints have no reward heads."""

        def ask(model: Any, start: int, end: int) -> list[tuple[float, ...]]:
            found = model.reward(prompts[start:end], completions[start:end])
            return [() if value is None else (value,) for value in found]

        pairs = list(zip(prompts, completions, strict=True))
        bodies = [{"prompt": prompt_json(prompt), "text": text} for prompt, text in pairs]
        return [row[0] if row else None for row in self._vectors("reward", Rewards, bodies, pairs, ask)]

    def _vectors(
        self, verb: str, capability: Any, bodies: Sequence[Call], texts: Sequence[tuple[Prompt | None, str]],
        ask: Callable[[Any, int, int], list[tuple[float, ...]]],
    ) -> list[tuple[float, ...]]:  # fmt: skip
        """One vector of numbers per body, from a model of this process."""

        def jobs(missing: Sequence[int], backend: AnswersEach) -> Iterator[tuple[Place, tuple[int, ...]]]:
            raise InternalError(f"an endpoint was asked to {verb}", got=self.ref.name)

        rows: list[tuple[float, ...]] = self._answers(
            _Work(
                count=len(bodies),
                call=lambda i: self._call(verb, bodies[i]),
                worst=lambda i: self.worst(texts[i][0], 0, texts[i][1]),
                decode=vector_from,
                compute=lambda start, end: [vector_json(v) for v in ask(self._needs(capability, verb), start, end)],
                jobs=jobs,
                per_chunk=self._chunk,
            )
        )
        self._count(0, 0, len(rows))
        return rows

    def close(self) -> None:
        """Close the back end, where it was opened and has something to close."""
        close = getattr(self._backend, "close", None)
        if close is not None:
            close()
        self._backend = None

    def _call(self, kind: str, body: Call) -> Call:
        return {"kind": kind, **self._about, **body}

    def _needs(self, capability: Any, verb: str) -> Any:
        backend = self.backend
        if not isinstance(backend, capability):
            raise CapabilityError(
                f"role '{self.role}' must {verb}, and its model cannot", got=self.ref.name, fix="choose another model for it"
            )
        return backend

    def worst(self, prompt: Prompt | None, max_tokens: int, text: str = "") -> Usage:
        """An upper bound for one call."""
        tokens = (most_prompt_tokens(prompt) if prompt is not None else FRAME_TOKENS) + most_tokens(text)
        return self._priced(Usage(calls=1, prompt_tokens=tokens, completion_tokens=max_tokens))

    def _priced(self, amount: Usage) -> Usage:
        money = (self._price or FREE).picodollars(
            prompt_tokens=amount.prompt_tokens,
            completion_tokens=amount.completion_tokens,
            cached_prompt_tokens=amount.cached_prompt_tokens,
        )
        return priced(amount, money) if money else amount

    def _count(self, prompt_tokens: int, completion_tokens: int, calls: int) -> None:
        amount = Usage(calls=calls, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        self._ledger.count(self.role, self.arm, self._priced(amount))

    def _answers(self, work: _Work) -> list[Any]:
        """The answers in order, from the cache or not; whatever is new is committed before it is used."""
        keys = [digest(work.call(i)) for i in range(work.count)]
        found: list[Any] = [None] * work.count
        missing: list[int] = []
        for start in range(0, work.count, _KEYS_AT_ONCE):
            part = keys[start : start + _KEYS_AT_ONCE]
            known = self._cache.get_many(part)
            for i, key in enumerate(part, start=start):
                if key in known:
                    found[i] = work.decode(read_answer(known[key]))
                else:
                    missing.append(i)
        if missing and isinstance(self.backend, AnswersEach):
            self._one_by_one(self.backend, work, keys, found, missing)
        elif missing:
            self._by_chunks(work, keys, found)
        elif work.count:
            self._show(work.count, work.count)
        return found

    def _by_chunks(self, work: _Work, keys: list[bytes], found: list[Any]) -> None:
        for start in range(0, work.count, work.per_chunk):
            end = min(start + work.per_chunk, work.count)
            if any(found[i] is None for i in range(start, end)):
                reserved = total([work.worst(i) for i in range(start, end)])
                if self._ledger.reserve(self.role, self.arm, [reserved]) == 0:
                    raise self._ledger.exhausted(self.role, missing=f"{work.count - start:,} of {work.count:,} answers", needed=reserved)
                began_s = time.perf_counter()
                try:
                    answers = work.compute(start, end)
                except BaseException:
                    # Work in this process has no bill: what was not finished cost nothing that counts.
                    self._ledger.settle(self.role, self.arm, reserved)
                    raise
                if len(answers) != end - start:
                    raise InternalError("back end returned the wrong number of answers", got=f"{len(answers)} for {end - start} requests")
                elapsed_s = time.perf_counter() - began_s
                for i, answer in self._commit(work, keys, list(enumerate(answers, start=start))):
                    # An answer that was known already stays, whatever the chunk made of it: a replay will see the old one.
                    found[i] = work.decode(answer) if found[i] is None else found[i]
                self._ledger.settle(self.role, self.arm, reserved, spent=self._spent(answers, elapsed_s))
            self._show(end, work.count)

    def _one_by_one(self, backend: AnswersEach, work: _Work, keys: list[bytes], found: list[Any], missing: list[int]) -> None:
        first_of: dict[bytes, int] = {}
        twins: dict[int, list[int]] = {}
        for i in missing:
            if (first := first_of.setdefault(keys[i], i)) != i:
                twins.setdefault(first, []).append(i)  # equal questions are asked once
        wanted = list(first_of.values())
        done = work.count - len(missing)

        def asks() -> Iterator[Ask]:
            for job, slots in work.jobs(wanted, backend):
                ask = backend.ask_of(job, slots)
                ask.worst = self._priced(ask.worst)
                yield ask

        pump = Pump(
            backend=backend,
            ledger=self._ledger,
            role=self.role,
            arm=self.arm,
            commit=lambda rows: self._commit(work, keys, rows),
            patience=backend.patience,
            price=self._priced,
            expected=len(wanted),
        )
        for slot, answer in pump.run(asks()):
            for i in (slot, *twins.get(slot, ())):
                found[i] = work.decode(answer)
                done += 1
            self._show(done, work.count)

    def _commit(self, work: _Work, keys: list[bytes], rows: list[tuple[int, Answer]]) -> list[tuple[int, Answer]]:
        """Make answers durable; returns them as they stand, since another process may have been first."""
        bodies = {keys[i]: write_body(self.ref.name, work.call(i), answer) for i, answer in rows}
        kept = self._cache.put_many(bodies.items())
        if not kept:
            return rows
        return [(i, read_answer(kept[keys[i]]) if keys[i] in kept else answer) for i, answer in rows]

    def _spent(self, answers: Sequence[Mapping[str, Any]], elapsed_s: float) -> Usage:
        return self._priced(
            Usage(
                calls=len(answers),
                prompt_tokens=sum(a.get("prompt_tokens", 0) + len(a.get("scored", ())) for a in answers),
                completion_tokens=sum(a.get("completion_tokens", 0) for a in answers),
                microseconds=round(elapsed_s * 1e6),
            )
        )

    def _show(self, done: int, count: int) -> None:
        if self._progress:
            self._progress(done, count)


def price_of(ref: ModelRef) -> Price | None:
    """Nothing for models of this process; for endpoints the list's price, None where the list has none."""
    if not ref.name.startswith("openai:"):
        return FREE
    from tutelage.backends.address import Address

    address = Address.parse(ref.name)
    known = load_prices().of(address.model)
    return FREE if known is None and address.is_local else known


def _runs(missing: Sequence[int], n: int, together: int) -> Iterator[tuple[int, ...]]:
    """Neighbouring samples of one prompt, at most `together` at a time."""
    run: list[int] = []
    for i in missing:
        if run and (i != run[-1] + 1 or i // n != run[0] // n or len(run) == together):
            yield tuple(run)
            run = []
        run.append(i)
    if run:
        yield tuple(run)
