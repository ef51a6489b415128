"""What every training set goes through before anybody learns from it: length, duplicates, and leaks of the evaluation set.

A stream in, a stream out, one block of rows in memory; what was left out is counted by reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from tutelage.errors import SettingsError
from tutelage.select.decontaminate import Decontaminator, N
from tutelage.select.dedup import ExactDuplicates, NearDuplicates
from tutelage.select.words import BLOCK, blocks, words_of

T = TypeVar("T")


class Hygiene:
    """Filters in this order: too short, too long, leak, duplicate, near duplicate. Decontamination has to be switched off to be off.

    `evaluation` are the texts that nobody may train on (test and validation questions); `templated` is the task's word on whether its
    questions repeat templates. `near` is the share of common word triples from which a text counts as repeated; None leaves that out.
    """

    def __init__(
        self,
        evaluation: Sequence[str],
        *,
        templated: bool = False,
        n: int = N,
        decontaminate: bool = True,
        exact: bool = True,
        near: float | None = None,
        least_words: int = 0,
        most_words: int | None = None,
    ) -> None:
        if most_words is not None and most_words < least_words:
            raise SettingsError("longest allowed text is shorter than the shortest", got=f"{least_words} to {most_words} words")
        self._leaks = Decontaminator(evaluation, templated=templated, n=n) if decontaminate else None
        self._exact = ExactDuplicates() if exact else None
        self._near = NearDuplicates(threshold=near) if near is not None else None
        self._least, self._most = least_words, most_words
        self.counts: dict[str, int] = {"checked": 0}
        """Rows by what became of them; `checked` and `kept` are always there after a run."""
        self.leaks: list[tuple[int, str, int]] = []
        """(row, rule, index of the evaluation text) of the first thousand leaks."""

    def filter(self, items: Iterable[T], *, text: Callable[[T], str]) -> Iterator[T]:
        """The items that may stay, in order."""
        for block in blocks(items, BLOCK):
            texts = [text(item) for item in block]
            reasons = self._reasons(texts)
            self.counts["checked"] += len(block)
            for item, reason in zip(block, reasons, strict=True):
                if reason is None:
                    self._count("kept")
                    yield item
                else:
                    self._count(reason)

    def _reasons(self, texts: Sequence[str]) -> list[str | None]:
        reasons: list[str | None] = [self._length(text) for text in texts]
        if self._leaks is not None:
            left = [i for i, reason in enumerate(reasons) if reason is None]
            for i, leak in zip(left, self._leaks.check([texts[i] for i in left]), strict=True):
                if leak is not None:
                    reasons[i] = f"leak: {leak.rule}"
                    if len(self.leaks) < 1000:
                        self.leaks.append((self.counts["checked"] + i, leak.rule, leak.evaluation))
        for finder, name in ((self._exact, "duplicate"), (self._near, "near duplicate")):
            if finder is not None:
                left = [i for i, reason in enumerate(reasons) if reason is None]
                for i, first in zip(left, finder.add([texts[i] for i in left]), strict=True):
                    if first is not None:
                        reasons[i] = name
        return reasons

    def _length(self, text: str) -> str | None:
        if not self._least and self._most is None:
            return None
        count = len(words_of(text))
        return "too short" if count < self._least else "too long" if self._most is not None and count > self._most else None

    def _count(self, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1


def clean(
    items: Iterable[T],
    *,
    text: Callable[[T], str],
    evaluation: Sequence[str],
    templated: bool = False,
    decontaminate: bool = True,
    exact: bool = True,
    near: float | None = None,
) -> tuple[list[T], dict[str, int]]:
    """The items that may stay and the counts by reason: `Hygiene` for what fits into memory.

    Give the question as `text`, not the rendered prompt, which no evaluation text equals; with several solutions per question set `exact`
    to False.
    """
    filters = Hygiene(evaluation, templated=templated, decontaminate=decontaminate, exact=exact, near=near)
    kept = list(filters.filter(items, text=text))
    return kept, {"kept": 0, **filters.counts}
