"""What a model can be asked, as tiny protocols over lists, and the values that cross them.

All calls are synchronous and take lists; concurrency, batching and prefix sharing live inside a back end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tutelage.errors import SettingsError
from tutelage.records import Prompt

CAPABILITIES = ("generate", "score", "embed", "classify", "reward", "train")
"""The words used in cards and errors. `train` means: weights within reach of `tutelage.train`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How completions are drawn. All of it is part of the call key, `seed` only where temperature > 0."""

    max_tokens: int
    """Upper bound on completion tokens; required, because budgets reserve the worst case."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    n: int = 1
    """Completions per prompt. More than one needs temperature > 0."""
    stop: tuple[str, ...] = ()
    """Texts that end a completion; the text itself is cut off."""
    seed: int | None = None
    """Set by the lab from the run seed and a named stream. The noise of a token depends on (seed, prompt, sample index,
    position) only, never on the other rows of a batch."""
    logprobs: bool = False
    """Ask for the log-probability of every completion token, where the back end has them."""
    schema: str | None = None
    """JSON schema, as text, that the answer must fit. Only endpoints can; an answer that does not fit in the end has `error`."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise SettingsError("sampling needs max_tokens of at least 1", got=self.max_tokens)
        if self.temperature < 0:
            raise SettingsError("sampling temperature must not be negative", got=self.temperature)
        if not 0 < self.top_p <= 1:
            raise SettingsError("sampling top_p must be in (0, 1]", got=self.top_p)
        if self.n < 1:
            raise SettingsError("sampling n must be at least 1", got=self.n)
        if self.n > 1 and self.temperature == 0:
            raise SettingsError("several samples at temperature 0 are all the same", got=f"n={self.n}", fix="set a temperature or n=1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer of a model to one prompt."""

    text: str
    finish: str = "stop"
    """`stop`, `length` (ran into max_tokens or the context), `refusal`, or `error` (then `error` says what)."""
    prompt_tokens: int = 0
    """Logical: before prefix sharing, deduplication and cache."""
    completion_tokens: int = 0
    logprobs: tuple[float, ...] | None = None
    """Natural-log probabilities of the completion tokens, where asked for and available."""
    reasoning: str | None = None
    """Hidden reasoning text that an endpoint returns apart from the answer."""
    error: str | None = None
    """What failed, where a row failed for good; such a row is data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScores:
    """Log-probabilities of a given completion after a given prompt."""

    logprobs: tuple[float, ...]
    """One natural-log probability per completion token (the end-of-text token included where the back end appends it)."""
    prompt_tokens: int = 0

    @property
    def total_nats(self) -> float:
        return float(sum(self.logprobs))

    @property
    def mean_nats(self) -> float:
        """Per token; 0 for an empty completion."""
        return self.total_nats / len(self.logprobs) if self.logprobs else 0.0


@runtime_checkable
class Generates(Protocol):
    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """For each prompt, in order, a list of `sampling.n` completions."""
        ...


@runtime_checkable
class Scores(Protocol):
    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]:
        """For each (prompt, completion) pair, in order, the log-probabilities of the completion's tokens."""
        ...


@runtime_checkable
class Embeds(Protocol):
    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """For each text, in order, one vector; all of one length."""
        ...


@runtime_checkable
class Classifies(Protocol):
    def classify(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """For each text, in order, the probability of every class in the order of `ModelFacts.labels`; they add up to 1."""
        ...


@runtime_checkable
class Rewards(Protocol):
    def reward(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
        """For each (prompt, completion) pair, in order, how good the completion is: a number without unit or bounds, for comparing
        completions of one prompt. None where the pair is longer than the model's context."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a model from its configuration alone; loading nothing."""

    capabilities: frozenset[str]
    parameters: int | None = None
    context_tokens: int | None = None
    family: str = ""
    """Architecture name, for example `LlamaForCausalLM`."""
    dialect: str = "english"
    """Which prompt wording the model was raised on (see `prompts.dialects`); the bundled pair speaks `folds`."""
    licence: str = "unknown"
    chat_template: bool = False
    template: str = ""
    """Which chat template; empty where prompts are given verbatim, or where a server decides."""
    labels: tuple[str, ...] = ()
    """Of a classifier: the classes, in the order of its outputs."""
