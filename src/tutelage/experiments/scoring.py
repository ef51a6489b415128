"""A reward model on a file: replies rated one by one, preferences counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage import backends
from tutelage.capabilities import Sampling
from tutelage.errors import CapabilityError, DataError, SettingsError
from tutelage.formats import read
from tutelage.measure import Interval, wilson
from tutelage.prompts.dialects import DIALECTS
from tutelage.records import Example, Pair, Problem, Prompt
from tutelage.signals.reward import CRITIQUE_TOKENS, Rating, RewardModel

AT_ONCE = 256
"""Replies that are rated before the next ones are read: what a progress display shows, and what an interruption costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a reward model says of a file."""

    model: str
    file: str
    shape: str
    rows: list[dict[str, Any]]
    """One per row, in order: `line` (from 1, of the rows), `reward` or `chosen_reward` and `rejected_reward`, None where the text was
    longer than the model's context; and what a model that writes has written."""
    unrated: int
    """Rows of which a reward is missing."""
    pairs: int = 0
    """Preference rows of which both sides are rated."""
    right: int = 0
    """Of these, how often the chosen reply has the strictly higher reward."""
    ties: int = 0
    accuracy: Interval | None = None
    """Share right with its Wilson interval, ties counted half as everywhere else; None without pairs."""

    def summary(self) -> dict[str, Any]:
        rewards = [row["reward"] for row in self.rows if row.get("reward") is not None]
        body: dict[str, Any] = {
            "model": self.model, "file": self.file, "shape": self.shape, "rows": len(self.rows), "unrated": self.unrated,
        }  # fmt: skip
        if self.accuracy is not None:
            a = self.accuracy
            return body | {"pairs": self.pairs, "right": self.right, "ties": self.ties, "accuracy": a.value, "low": a.low, "high": a.high}
        return body | ({"mean_reward": sum(rewards) / len(rewards), "min": min(rewards), "max": max(rewards)} if rewards else {})


def score_file(
    model: str,
    file: Path | str,
    *,
    shape: str | None = None,
    critiques: int = 1,
    max_tokens: int = CRITIQUE_TOKENS,
    temperature: float = 0.7,
    seed: int = 0,
    limit: int | None = None,
    device: str = "auto",
    progress: Any = None,
) -> Scored:
    """Rate every reply of a file of preferences or of prompts with replies, in any shape that `formats` reads.

    A model that writes is asked for `critiques` critiques of each reply, greedy where it is one; the reward is their mean.
    """
    if critiques < 1:
        raise SettingsError("a reward needs at least one critique", got=critiques)
    name = model if ":" in model and not Path(model).exists() else f"hf:{model}"
    ref = backends.resolve(name)
    facts = backends.facts(ref)
    if "reward" not in facts.capabilities:
        raise CapabilityError(
            "model gives no reward",
            got=f"{model}, {facts.family}, which can {', '.join(sorted(facts.capabilities)) or 'nothing'}",
            fix="name a folder that holds a classifier of one output, or a language model with a reward head (terms.safetensors) beside it",
        )
    if critiques > 1 and "generate" not in facts.capabilities:
        said = f"--critiques {critiques} for {model}"
        raise SettingsError("this reward model writes no critiques", got=said, fix="leave --critiques out: it rates at once")
    records, found = read(file, shape=shape)
    sides = [_sides(record, file, line) for line, record in enumerate(records[:limit], start=1)]
    drawn = {"temperature": temperature, "n": critiques, "seed": seed} if critiques > 1 else {}
    sampling = Sampling(max_tokens=max_tokens, stop=DIALECTS[facts.dialect].solution_stop, **drawn)
    rater = RewardModel(backends.open_backend(ref, device=device), facts, model_id=ref.id, sampling=sampling)
    asked = [(prompt, reply) for prompt, replies in sides for reply in replies.values()]
    ratings: list[Rating] = []
    for start in range(0, len(asked), AT_ONCE):
        part = asked[start : start + AT_ONCE]
        ratings += rater.ratings([p for p, _ in part], [r for _, r in part])
        if progress is not None:
            progress(len(ratings), len(asked))
    rows = _rows(sides, ratings)
    return _counted(rows, model=model, file=str(file), shape=found)


def _sides(record: Example | Pair | Problem, file: Path | str, line: int) -> tuple[Prompt, Mapping[str, str]]:
    """Prompt, and the replies by the prefix of their columns."""
    if isinstance(record, Pair):
        return record.prompt, {"chosen_": record.chosen, "rejected_": record.rejected}
    if isinstance(record, Example):
        return record.prompt, {"": record.completion}
    raise DataError(
        "a reward needs a reply, and the file holds questions", got=f"{file} row {line}", fix="give prompt and completion, or a preference"
    )


def _rows(sides: Sequence[tuple[Prompt, Mapping[str, str]]], ratings: Sequence[Rating]) -> list[dict[str, Any]]:
    left = iter(ratings)
    rows: list[dict[str, Any]] = []
    for line, (_, replies) in enumerate(sides, start=1):
        row: dict[str, Any] = {"line": line}
        for prefix in replies:
            rating = next(left)
            row[f"{prefix}reward"] = rating.value
            if rating.critiques:
                row[f"{prefix}critiques"] = list(rating.critiques)
        rows.append(row)
    return rows


def _counted(rows: list[dict[str, Any]], *, model: str, file: str, shape: str) -> Scored:
    unrated = sum(any(value is None for name, value in row.items() if name.endswith("reward")) for row in rows)
    both = [(row["chosen_reward"], row["rejected_reward"]) for row in rows if "chosen_reward" in row]
    rated = [(c, r) for c, r in both if c is not None and r is not None]
    if not rated:
        return Scored(model=model, file=file, shape=shape, rows=rows, unrated=unrated)
    right, ties = sum(c > r for c, r in rated), sum(c == r for c, r in rated)
    interval = wilson(right + ties / 2, len(rated))
    return Scored(
        model=model, file=file, shape=shape, rows=rows, unrated=unrated, pairs=len(rated), right=right, ties=ties, accuracy=interval
    )
