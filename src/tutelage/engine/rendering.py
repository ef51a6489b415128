"""Texts to token ids and back: the one place that decides what a model is given and what it is trained on.

A prompt and a completion are tokenized apart and put together, in generation, scoring and training alike, so that the three see the same
ids. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutelage.engine.digest import CheckpointFolder, inspect_folder, stop_ids_of
from tutelage.errors import DataError, SettingsError
from tutelage.records import Prompt

if TYPE_CHECKING:
    from pathlib import Path

Span = tuple[int, int, float]


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """How one model's texts become ids."""

    tokenizer: Any
    """A transformers tokenizer."""
    stop_ids: frozenset[int]
    """Ids that end a completion: the tokenizer's end of text, and what the model's configuration adds."""
    eos_id: int | None
    """What completions are ended with in scoring and training; None where the model knows no end of text."""

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The ids of one prompt; see `many_prompt_ids`."""
        return self.many_prompt_ids([prompt])[0]

    def many_prompt_ids(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Through the chat template where there is one, ending where the answer begins. Else the text verbatim, with what the
        tokenizer's own post-processor puts in front; an end of text that it puts behind is cut off, since nothing would follow it.

        Special tokens spelled out in verbatim text are text; inside a chat template the tokenizer cannot tell them apart. A prompt whose
        last turn is the assistant's is an answer that was begun: its ids follow those of the prompt as a completion's do, and no end of
        text.
        """
        if not prompts:
            return []
        if any(p.messages[-1].role == "assistant" and len(p.messages) > 1 for p in prompts):
            return [self._begun(p) for p in prompts]
        if self.tokenizer.chat_template:
            return self._ids([self._templated(p) for p in prompts], add_special_tokens=False)
        rows = self._ids([p.text for p in prompts], add_special_tokens=True, split_special_tokens=True)
        for ids in rows:
            while ids and ids[-1] in self.stop_ids:
                ids.pop()
        return rows

    def _begun(self, prompt: Prompt) -> list[int]:
        *before, last = prompt.messages
        if last.role != "assistant" or not before:
            return self.many_prompt_ids([prompt])[0]
        return self.many_prompt_ids([Prompt(messages=tuple(before), kind=prompt.kind)])[0] + self.completion_ids(last.content, end=False)

    def _templated(self, prompt: Prompt) -> str:
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        try:
            return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except Exception as wrong:  # templates are programs of the model's author and raise what they like
            raise DataError(
                "chat template of the model refuses the messages",
                got=f"{[m.role for m in prompt.messages]}: {wrong}",
                fix="use the roles the template knows, often only user and assistant in turns",
            ) from wrong

    def completion_ids(self, text: str, *, end: bool = True) -> list[int]:
        """The completion alone, followed by the end of text unless `end` is False or the model knows none."""
        return self.many_completion_ids([text], end=end)[0]

    def many_completion_ids(self, texts: Sequence[str], *, end: bool = True) -> list[list[int]]:
        """As `completion_ids`, for each text."""
        if not texts:
            return []
        rows = self._ids(texts, add_special_tokens=False, split_special_tokens=True)
        return [[*ids, self.eos_id] for ids in rows] if end and self.eos_id is not None else rows

    def text_ids(self, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
        """Texts alone, with what the tokenizer's own post-processor puts around them and cut to `limit`: what vectors are made of, in
        training and afterwards."""
        rows = self._ids(texts, add_special_tokens=True, split_special_tokens=True) if texts else []
        return [ids[:limit] for ids in rows]

    def _ids(self, texts: Sequence[str], **options: Any) -> list[list[int]]:
        # Not verbose: whether a text is too long for the model is decided, and said, by whoever runs it.
        return [list(ids) for ids in self.tokenizer(list(texts), verbose=False, **options)["input_ids"]]

    def weighted_completion(self, text: str, spans: Sequence[Span] = ()) -> tuple[list[int], list[float]]:
        """Ids as in `completion_ids` and one weight per id.

        `spans` are (start, end, weight) in characters; unnamed characters weigh 1 and a later span wins over an earlier one. A token
        weighs the mean over its characters. The end of text counts as the character after the last one.
        """
        ids = self.completion_ids(text)
        if not spans:
            return ids, [1.0] * len(ids)
        per_char = [1.0] * (len(text) + 1)
        for start, stop, weight in spans:
            if not 0 <= start <= stop <= len(per_char):
                raise DataError("span lies outside its completion", got=f"({start}, {stop}) in {len(text)} characters")
            per_char[start:stop] = [weight] * (stop - start)
        weights = []
        for start, stop in self._offsets(text):
            covered = per_char[start:stop] or per_char[start : start + 1]
            weights.append(sum(covered) / len(covered))
        weights += [per_char[-1]] * (len(ids) - len(weights))
        return ids, weights

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        if not self.tokenizer.is_fast:
            raise SettingsError(
                "tokenizer cannot tell which characters a token covers, so spans cannot be weighted",
                got=type(self.tokenizer).__name__,
                fix="use a model with a tokenizer.json, or examples without spans",
            )
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        return [tuple(pair) for pair in encoded["offset_mapping"]]

    def text(self, ids: Sequence[int]) -> str:
        """The text of completion ids; special tokens are left out, spaces stay as the model wrote them."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def open_rendering(path: str | Path | CheckpointFolder) -> Rendering:
    """The rendering of a checkpoint folder."""
    from transformers import AutoTokenizer

    folder = path if isinstance(path, CheckpointFolder) else inspect_folder(path)
    place = folder.tokenizer_path
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise DataError(
            "tokenizer of the model cannot be opened",
            got=f"{place}: {str(wrong).splitlines()[0][:200]}",
            fix="put the tokenizer's files (tokenizer.json, tokenizer_config.json) into the model folder",
        ) from wrong
    return rendering_of(tokenizer, stop_ids=stop_ids_of(folder))


def rendering_of(tokenizer: Any, *, stop_ids: frozenset[int] = frozenset()) -> Rendering:
    """The rendering of a tokenizer that is already open; `stop_ids` adds what the model's configuration says."""
    own = tokenizer.eos_token_id
    eos = own if own is not None else min(stop_ids, default=None)
    return Rendering(tokenizer=tokenizer, stop_ids=stop_ids | ({eos} if eos is not None else set()), eos_id=eos)
