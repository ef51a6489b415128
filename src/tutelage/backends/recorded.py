"""Recorded answers played back: a JSONL file, or a folder of them, in place of a model.

A row answers to one of

    prompt                  the text of a prompt, or its turns as [[role, text], ...]
    key                     the id of a prompt
    question                the problem's text; answers every prompt that asks to solve this question, whatever stands around it

with `completion` (a text, or {text, finish, ...} as the call cache exports it) or `rationale`. Several rows for the same prompt are its
samples, in the order of the file or of their `index`. Rows of other kinds of calls in an exported cache are passed over.
Lengths are those of the row where it has them, else in words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from tutelage.backends.scripted import completion_in_words
from tutelage.capabilities import Completion, Sampling
from tutelage.errors import DataError, EndpointError
from tutelage.hashing import DIGEST_BYTES, TAG
from tutelage.records import Message, Prompt

_SOLVING = "solve"
"""Prompts of another kind (drafting questions, critiques) may contain a recorded question without asking for its answer."""


def recorded_files(path: Path) -> list[Path]:
    """The file itself, or every *.jsonl in the folder by name."""
    if path.is_dir():
        files = sorted(path.glob("*.jsonl"))
        if not files:
            raise DataError("folder holds no recorded answers", got=str(path), fix="put *.jsonl files there")
        return files
    if not path.is_file():
        raise DataError(
            "file of recorded answers does not exist", got=str(path), fix="recorded:FILE needs a JSONL file or a folder of them"
        )
    return [path]


def digest_of_files(files: Sequence[Path]) -> str:
    """One id for the contents of the files."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for file in files:
        body = file.read_bytes()
        hasher.update(len(body).to_bytes(8, "big") + body)
    return f"{TAG}-{hasher.hexdigest()}"


def open_recorded(path: str | Path) -> RecordedBackend:
    """The recorded answers in a file or folder. A row that cannot be used is an error with its line number."""
    place = Path(path)
    return RecordedBackend([row for file in recorded_files(place) for row in _read(file)], source=str(path))


def _read(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as wrong:
                raise DataError(f"line {number} of {file} is not JSON", got=str(wrong), fix="one JSON object per line") from wrong
            if not isinstance(row, dict):
                raise DataError(f"line {number} of {file} is not a JSON object", got=str(row)[:80])
            if row.get("kind", "generate") != "generate":
                continue
            if not {"prompt", "question", "key"} & row.keys() or not {"completion", "rationale"} & row.keys():
                raise DataError(
                    f"line {number} of {file} is not a recorded answer",
                    got=", ".join(sorted(row))[:120],
                    fix="it needs prompt, question or key, and completion or rationale",
                )
            yield row


class RecordedBackend:
    """Answers by looking up. What was not recorded is an answer with an error; a call of which nothing was recorded raises."""

    def __init__(self, rows: Sequence[dict[str, Any]], *, source: str) -> None:
        self._source = source
        self._by_id: dict[str, list[dict[str, Any]]] = {}
        self._by_question: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            place, key = self._place(row)
            place.setdefault(key, []).append(row)
        for group in (*self._by_id.values(), *self._by_question.values()):
            group.sort(key=lambda row: row.get("index", 0))  # stable: without an index, the order of the file

    def _place(self, row: dict[str, Any]) -> tuple[dict[str, list[dict[str, Any]]], str]:
        if "prompt" in row:
            turns = row["prompt"]
            if isinstance(turns, str):
                return self._by_id, Prompt.user(turns).id
            return self._by_id, Prompt(messages=tuple(Message(role=role, content=text) for role, text in turns)).id
        if "question" in row:
            return self._by_question, row["question"].strip()
        return self._by_id, row["key"]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        """The recorded samples in their order, cut at stop texts and at `max_tokens`."""
        found = [_drawn_alike(self._rows(prompt), sampling) for prompt in prompts]
        if prompts and not any(found):
            raise EndpointError(
                f"none of the {len(prompts)} prompts of this call was recorded",
                got=f"{_start(prompts[0])!r} in {self._source}",
                fix="name the file that was recorded with these prompts and questions",
            )
        return [
            [self._completion(prompt, rows, index, sampling) for index in range(sampling.n)]
            for prompt, rows in zip(prompts, found, strict=True)
        ]

    def _rows(self, prompt: Prompt) -> list[dict[str, Any]]:
        rows = self._by_id.get(prompt.id)
        if rows is None and (not prompt.kind or prompt.kind.startswith(_SOLVING)):
            # Demonstrations stand before the question that is asked, so the last match is meant; of nested matches the longest.
            text = prompt.text
            ends = [(text.rfind(q) + len(q), len(q), q) for q in self._by_question if q in text]
            rows = self._by_question[max(ends)[2]] if ends else None
        return rows or []

    def _completion(self, prompt: Prompt, rows: list[dict[str, Any]], index: int, sampling: Sampling) -> Completion:
        if index >= len(rows):
            missing = "prompt was not recorded" if not rows else f"sample {index} was not recorded (there are {len(rows)})"
            return Completion(text="", finish="error", error=f"{missing}: {_start(prompt)!r} in {self._source}")
        row = rows[index]
        given = row["completion"] if "completion" in row else row["rationale"]
        if isinstance(given, str):
            return completion_in_words(prompt, given, sampling)
        told = {name: given[name] for name in ("finish", "reasoning", "error") if name in given}
        counts = {name: given[name] for name in ("prompt_tokens", "completion_tokens") if name in given}
        if "completion_tokens" not in counts:
            cut = completion_in_words(prompt, given["text"], sampling)
            return Completion(**{"text": cut.text, "completion_tokens": cut.completion_tokens, "finish": cut.finish, **counts, **told})
        logprobs = tuple(given["logprobs"]) if sampling.logprobs and given.get("logprobs") is not None else None
        return Completion(text=given["text"], **told, **counts, logprobs=logprobs)


def _drawn_alike(rows: list[dict[str, Any]], sampling: Sampling) -> list[dict[str, Any]]:
    """The rows less those that say they were drawn at another temperature or with another seed."""
    here = (sampling.temperature, sampling.seed if sampling.temperature > 0 else None)
    return [row for row in rows if "sampling" not in row or here == (row["sampling"].get("temperature"), row["sampling"].get("seed"))]


def _start(prompt: Prompt) -> str:
    text = prompt.text
    return text if len(text) <= 80 else text[:77] + "..."
