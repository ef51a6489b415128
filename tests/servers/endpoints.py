"""A role behind an endpoint with its own cache and ledger, as the endpoint tests use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.backends.address import Address
from tutelage.backends.openai import OpenAIBackend
from tutelage.backends.wrappers import Cached
from tutelage.capabilities import Sampling
from tutelage.journal.amounts import Budget
from tutelage.journal.cache import CallCache
from tutelage.journal.ledger import Ledger
from tutelage.records import ModelRef, Prompt

QUICK = {"backoff_s": 0.005, "timeout_s": 20.0, "dead_s": 0.1, "identity": "stub"}
"""Short waits: the tests' server asks for none, and no test measures time."""
GREEDY = Sampling(max_tokens=12)
DRAWN = Sampling(max_tokens=12, temperature=1.0, n=3, seed=3)


def ref_of(name: str, **options: Any) -> ModelRef:
    return ModelRef(name=name, digest=Address.parse(name).having(options).digest)


class Place:
    def __init__(self, folder: Path, name: str, *, budget: Budget | None = None, progress: Any = None, **options: Any) -> None:
        options = QUICK | options
        self.ref = ref_of(name, **options)
        self.cache = CallCache(folder / "cache.sqlite")
        self.ledger = Ledger(folder / "ledger.sqlite", budget=budget)
        self.role = Cached(
            lambda: OpenAIBackend(self.ref, **options),
            self.ref,
            cache=self.cache,
            ledger=self.ledger,
            role="teacher",
            arm="a",
            progress=progress,
        )

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.role.close()
        self.ledger.close()
        self.cache.close()


def questions(count: int, words: str = "question") -> list[Prompt]:
    return [Prompt.user(f"{words} {n}") for n in range(count)]
