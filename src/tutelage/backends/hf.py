"""Models of the transformers library in this process: generation, scoring and embedding with shared prefixes.

Requests of one call form a tree of common token prefixes, each encoded once; equal requests are answered once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tutelage.capabilities import Completion, Sampling, TokenScores
from tutelage.engine.decode import Decoded, generate_ids, score_ids
from tutelage.engine.digest import OWN_FILE, facts_of, reward_head_of
from tutelage.engine.embedding import classify_ids, embed_ids, reward_ids
from tutelage.engine.loading import OpenModel, open_model
from tutelage.engine.stopping import StopTexts
from tutelage.errors import DataError, SettingsError
from tutelage.records import Prompt


def open_folder(
    path: str | Path, *, device: str = "auto", dtype: str = "auto", threads: int | None = None, share: bool | None = None
) -> HFBackend | HFEncoder:
    """The model in a checkpoint or adapter folder. A model that can only embed has only `embed`, a classifier `classify` too, a reward
    model `reward`.

    `threads`: torch threads of this process from now on. `share`: False answers every request alone (to compare; the answers are equal).
    """
    if threads is not None:
        if threads < 1:
            raise SettingsError("threads must be at least 1", got=threads)
        torch.set_num_threads(threads)
    opened = open_model(path, device=device, dtype=dtype)
    facts = facts_of(opened.folder)
    if "classify" in facts.capabilities:
        return HFClassifier(opened, facts.context_tokens)
    if "generate" not in facts.capabilities:
        return (HFReward if "reward" in facts.capabilities else HFEncoder)(opened, facts.context_tokens)
    return (HFCritic if "reward" in facts.capabilities else HFBackend)(opened, facts.context_tokens, share=share)


class HFEncoder:
    """A text encoder."""

    def __init__(self, opened: OpenModel, context_tokens: int | None) -> None:
        self._opened = opened
        self._context = context_tokens

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """The mean of the last layer's states over the tokens of each text, as many of them as the context holds."""
        ids = self._opened.rendering.text_ids(texts, self._context)
        empty = next((text for text, row in zip(texts, ids, strict=True) if not row), None)
        if empty is not None:
            raise DataError("a text without tokens cannot be embedded", got=repr(empty))
        return embed_ids(self._opened.module, ids)


class HFClassifier(HFEncoder):
    """An encoder, or a causal model, under a class head."""

    def classify(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Class probabilities of each text as the class head is trained on it: alone, through the chat template where there is one."""
        if not texts:
            return []
        rendering = self._opened.rendering
        end = rendering.completion_ids("")
        ids = [[*row, *end] for row in rendering.many_prompt_ids([Prompt.user(text) for text in texts])]
        empty = next((text for text, row in zip(texts, ids, strict=True) if not row), None)
        if empty is not None:
            raise DataError("a text without tokens cannot be classified", got=repr(empty))
        return classify_ids(self._opened.module, [self._cut(row) for row in ids])

    def _cut(self, ids: list[int]) -> list[int]:
        """What is too long loses the tokens before its last one, which marks the end."""
        limit = self._context
        return ids if limit is None or len(ids) <= limit else [*ids[: limit - 1], ids[-1]]


class HFReward(HFEncoder):
    """A model under a class head of one output."""

    def reward(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
        """The output behind the completion's last token and the end of text, as Bradley-Terry trains it."""
        return _rewards(self._opened, self._context, prompts, completions)


class HFBackend(HFEncoder):
    """A causal language model."""

    def __init__(self, opened: OpenModel, context_tokens: int | None, *, share: bool | None = None) -> None:
        super().__init__(opened, context_tokens)
        self._share = share
        # Embedding tables are often wider than the tokenizer; ids that are no tokens must never be drawn.
        self._vocabulary = max(opened.rendering.tokenizer.get_vocab().values()) + 1
        self._stop_texts: dict[tuple[str, ...], StopTexts] = {}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """Completions up to the end of text, a stop text, `max_tokens` or the end of the context. A prompt that fills the context, or
        has no tokens, is answered with an error."""
        if sampling.temperature > 0 and sampling.seed is None:
            raise SettingsError(
                "sampling at a temperature needs a seed", got=f"temperature={sampling.temperature}", fix="set Sampling.seed"
            )
        rendering = self._opened.rendering
        names = [prompt.id for prompt in prompts]
        ids = self._prompt_ids(prompts, names)
        room = {key: self._room(len(row), sampling.max_tokens) for key, row in ids.items()}
        asked = [key for key in ids if ids[key] and room[key] > 0]
        stops = self._stops(sampling.stop)
        decoded = generate_ids(
            self._opened.module,
            [ids[key] for key in asked],
            max_tokens=[room[key] for key in asked],
            stop_ids=rendering.stop_ids,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            samples=sampling.n,
            seed=sampling.seed or 0,
            stop=stops.over if sampling.stop else None,
            logprobs=sampling.logprobs,
            vocabulary=self._vocabulary,
            share=self._share,
        )
        rows = {key: [self._completion(d, len(ids[key]), stops) for d in group] for key, group in zip(asked, decoded, strict=True)}
        return [rows[key] if key in rows else [self._refused(len(ids[key]))] * sampling.n for key in names]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[TokenScores]:
        """Of the completion's tokens and the end of text behind them."""
        rendering = self._opened.rendering
        names = [prompt.id for prompt in prompts]
        ids = self._prompt_ids(prompts, names)
        unique = list(dict.fromkeys(completions))
        ends = dict(zip(unique, rendering.many_completion_ids(unique), strict=True))
        rows = [(ids[key], ends[text]) for key, text in zip(names, completions, strict=True)]
        for prompt, completion in rows:
            if not prompt:
                raise DataError("a completion cannot be scored after a prompt without tokens", fix="score behind some text")
            # The last completion token is predicted and never read.
            if self._context is not None and len(prompt) + len(completion) - 1 > self._context:
                raise DataError(
                    "text to be scored is longer than the model's context",
                    got=f"{len(prompt)} prompt and {len(completion)} completion tokens, context {self._context}",
                    fix="shorten it, or use a model with a longer context",
                )
        scores = score_ids(self._opened.module, [p for p, _ in rows], [c for _, c in rows], vocabulary=self._vocabulary, share=self._share)
        return [TokenScores(logprobs=row, prompt_tokens=len(prompt)) for row, (prompt, _) in zip(scores, rows, strict=True)]

    def _prompt_ids(self, prompts: Sequence[Prompt], names: Sequence[str]) -> dict[str, list[int]]:
        """Ids by the id of the prompt."""
        unique = dict(zip(names, prompts, strict=True))
        return dict(zip(unique, self._opened.rendering.many_prompt_ids(list(unique.values())), strict=True))

    def _room(self, prompt_tokens: int, max_tokens: int) -> int:
        return max_tokens if self._context is None else min(max_tokens, self._context - prompt_tokens)

    def _refused(self, prompt_tokens: int) -> Completion:
        error = (
            f"prompt of {prompt_tokens} tokens leaves no room in a context of {self._context}" if prompt_tokens else "prompt has no tokens"
        )
        return Completion(text="", finish="error", prompt_tokens=prompt_tokens, error=error)

    def _stops(self, texts: tuple[str, ...]) -> StopTexts:
        if texts not in self._stop_texts:
            self._stop_texts[texts] = StopTexts(self._opened.rendering, texts)
        return self._stop_texts[texts]

    def _completion(self, decoded: Decoded, prompt_tokens: int, stops: StopTexts) -> Completion:
        return Completion(
            text=stops.text(decoded.ids),
            finish=decoded.finish,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(decoded.ids),
            logprobs=decoded.logprobs,
        )

    @property
    def model(self) -> Any:
        """The open model, for those who need more than texts."""
        return self._opened


class HFCritic(HFBackend):
    """A causal language model with a reward head beside its weights: it writes a critique, and rates what it has read."""

    def __init__(self, opened: OpenModel, context_tokens: int | None, *, share: bool | None = None) -> None:
        from safetensors.torch import load_file

        super().__init__(opened, context_tokens, share=share)
        name = reward_head_of(opened.folder)
        assert name is not None
        self._head = load_file(opened.folder.path / OWN_FILE)[name].float()

    def reward(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float | None]:
        """The head on the state at the end of text behind the completion, which is the critique."""
        return _rewards(self._opened, self._context, prompts, completions, head=self._head)


def _rewards(
    opened: OpenModel, context: int | None, prompts: Sequence[Prompt], completions: Sequence[str], *, head: torch.Tensor | None = None
) -> list[float | None]:
    """Nothing is cut: a reward of half a text would be that of another one."""
    rendering = opened.rendering
    ends = rendering.many_completion_ids(list(completions))
    rows = [[*asked, *end] for asked, end in zip(rendering.many_prompt_ids(list(prompts)), ends, strict=True)]
    fit = [i for i, row in enumerate(rows) if row and (context is None or len(row) <= context)]
    found = dict(zip(fit, reward_ids(opened.module, [rows[i] for i in fit], head=head), strict=True))
    return [found.get(i) for i in range(len(rows))]
