"""The models that one process holds open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tutelage.records import ModelRef

ALONE_BELOW = 10_000_000
"""Models of fewer parameters are run by one thread, as they are trained by one."""
OPEN_AT_MOST = 4
"""Models held open in one process; beyond it the one unused for longest is let go and opened again when it is needed."""


class Shelf:
    """The models that this process has open. A run trains many students; holding all of them would fill the memory."""

    def __init__(self) -> None:
        self._open: dict[str, Any] = {}

    def model(self, ref: ModelRef) -> Any:
        """The open model of `ref`, opened now if it is not, and marked as the last one used."""
        model = self._open.pop(ref.id, None)
        if model is None:
            from tutelage import backends

            while len(self._open) >= OPEN_AT_MOST:
                oldest = self._open.pop(next(iter(self._open)))
                close = getattr(oldest, "close", None)
                if close is not None:
                    close()
            parameters = backends.facts(ref).parameters
            # Small models on a CPU lose more to threads waiting for one another than they gain; parallelism is processes over seeds.
            alone = {"threads": 1} if parameters is not None and parameters < ALONE_BELOW else {}
            model = backends.open_backend(ref, **alone)
        self._open[ref.id] = model
        return model


def opener(shelf: Shelf, ref: ModelRef) -> Callable[[], Any]:
    """How a role opens its model. Models with local weights go to the shelf; an endpoint holds no weights and stays with its role."""
    from tutelage import backends

    return (lambda: backends.open_backend(ref)) if ref.path is None else (lambda: _Shelved(shelf, ref))


class _Shelved:
    """A model taken from the shelf anew for every call, so that the shelf alone decides what stays open."""

    def __init__(self, shelf: Shelf, ref: ModelRef) -> None:
        self._shelf, self._ref = shelf, ref

    def generate(self, prompts: Any, sampling: Any) -> Any:
        return self._shelf.model(self._ref).generate(prompts, sampling)

    def score(self, prompts: Any, completions: Any) -> Any:
        return self._shelf.model(self._ref).score(prompts, completions)

    def embed(self, texts: Any) -> Any:
        return self._shelf.model(self._ref).embed(texts)

    def classify(self, texts: Any) -> Any:
        return self._shelf.model(self._ref).classify(texts)

    def reward(self, prompts: Any, completions: Any) -> Any:
        return self._shelf.model(self._ref).reward(prompts, completions)
