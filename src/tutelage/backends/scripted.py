"""Models that are functions: deterministic answers for tests, for planning and for learning the house.

They count in words, having no tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tutelage.capabilities import Completion, ModelFacts, Sampling, TokenScores
from tutelage.errors import SettingsError, did_you_mean
from tutelage.records import Prompt

Answer = Callable[[Prompt, int, int | None], str]
"""(prompt, index of the sample, sampling seed or None when greedy) -> text."""
Score = Callable[[Prompt, str], tuple[float, ...]]
Embed = Callable[[str], tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a scripted model does, and its tally."""

    name: str
    answer: Answer | None
    score: Score | None = None
    embed: Embed | None = None
    version: str = "1"
    """Raise it when the answers change: it is the model's identity."""
    dialect: str = "english"
    calls: Counter[str] = field(default_factory=Counter)
    """Rows answered so far, by `generate`, `score` and `embed`: every sample is one."""

    @property
    def facts(self) -> ModelFacts:
        able = {"generate": self.answer, "score": self.score, "embed": self.embed}
        return ModelFacts(capabilities=frozenset(k for k, v in able.items() if v is not None), family="scripted", dialect=self.dialect)


_SCRIPTS: dict[str, Script] = {}
SHIPPED = ("folds", "folds-weak", "clinc150", "chains-40", "chains-5")
"""Scripts of `folds_writer` and `label_writer`, made when first asked for."""


def register(script: Script) -> Script:
    """Make `scripted:NAME` open this script. Registering a name again replaces it, with a fresh tally."""
    _SCRIPTS[script.name] = script
    return script


def script(name: str) -> Script:
    """The script registered as `name`; those that ship are there without being registered."""
    if name not in _SCRIPTS and name in SHIPPED:
        from tutelage.backends.folds_writer import FAULTS, folds_script
        from tutelage.backends.label_writer import label_script

        register(folds_script(name) if name in FAULTS else label_script(name))
    if name not in _SCRIPTS:
        raise SettingsError("no script has this name", got=name, fix=did_you_mean(name, (*_SCRIPTS, *SHIPPED)))
    return _SCRIPTS[name]


class _Generating:
    _script: Script

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """The script's texts, cut at stop texts and at `max_tokens` words."""
        assert self._script.answer is not None
        seed = sampling.seed if sampling.temperature > 0 else None
        rows = []
        for prompt in prompts:
            texts = [self._script.answer(prompt, index, seed) for index in range(sampling.n)]
            rows.append([completion_in_words(prompt, text, sampling) for text in texts])
        self._script.calls["generate"] += len(prompts) * sampling.n
        return rows


class _Scoring:
    _script: Script

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]:
        assert self._script.score is not None
        self._script.calls["score"] += len(prompts)
        return [
            TokenScores(logprobs=self._script.score(prompt, text), prompt_tokens=len(prompt.text.split()))
            for prompt, text in zip(prompts, completions, strict=True)
        ]


class _Embedding:
    _script: Script

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        assert self._script.embed is not None
        self._script.calls["embed"] += len(texts)
        return [self._script.embed(text) for text in texts]


def open_script(script: Script) -> object:
    """A back end with the methods of the script's capabilities and no others."""
    parts = ((script.answer, _Generating), (script.score, _Scoring), (script.embed, _Embedding))
    kind = type("ScriptedBackend", tuple(part for given, part in parts if given is not None), {})
    backend = kind()
    backend._script = script
    return backend


def completion_in_words(prompt: Prompt, text: str, sampling: Sampling) -> Completion:
    """`text` as an answer of a model whose tokens are words: cut at the first stop text and after `max_tokens` words."""
    for stop in sampling.stop:
        text = text.split(stop, 1)[0]
    words = text.split()
    finish = "stop"
    if len(words) > sampling.max_tokens:
        finish, words = "length", words[: sampling.max_tokens]
        text = _first_words(text, sampling.max_tokens)
    return Completion(text=text, finish=finish, prompt_tokens=len(prompt.text.split()), completion_tokens=len(words))


def _first_words(text: str, count: int) -> str:
    """The text up to the end of its `count`-th word, spaces between kept."""
    inside, seen = False, 0
    for place, letter in enumerate(text):
        if letter.isspace():
            if inside and seen == count:
                return text[:place]
            inside = False
        elif not inside:
            inside, seen = True, seen + 1
    return text


def _echo(prompt: Prompt, index: int, seed: int | None) -> str:
    del index, seed
    return prompt.messages[-1].content


register(Script(name="echo", answer=_echo))
