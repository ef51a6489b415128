"""Training texts that give away evaluation texts.

Three rules, by what the evaluation set is:

- `equal`   the texts differ in spacing and case only; the only rule for worlds that repeat templates, which share n-grams by design
- `ngram`   a run of n words (10) of an evaluation text stands in the training text; not a run that many evaluation texts share, such as
            an instruction before every question: it gives none of them away
- `near`    for texts of fewer than 2n words, which one changed word can leave without such a run: at most one word in ten is changed, left
            out or added (at least one); below n words at most two letters of one word, and no digit, because in a short text one word is
            what is asked ("add milk to my list")

Short evaluation texts (fewer than n words) inside longer training texts are not looked for: a phrase of nine words is common property.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import SettingsError
from tutelage.select.words import Hashes, Vocabulary, same_text, windows, words_of

N = 10
"""Words in a run. See the curve in the log: shorter runs are everyday phrases, longer ones miss edited texts."""
COMMON_TEXTS = 2
COMMON_SHARE = 0.01
"""A run that more evaluation texts share than either of these allows is boilerplate."""
NEAR_SHARE = 0.1
"""Share of changed words up to which two texts of fewer than 2n words are near."""
NEAR_LETTERS = 2
"""Changed characters up to which two texts of fewer than n words are near."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A training text that gives away an evaluation text."""

    rule: str
    evaluation: int
    """Index of the evaluation text."""


class Decontaminator:
    """Knows the evaluation texts; `check` training texts against them, block by block."""

    def __init__(self, evaluation: Sequence[str], *, templated: bool = False, n: int = N) -> None:
        if n < 3:
            raise SettingsError("runs of fewer than 3 words are in every text", got=n)
        self._templated = templated
        self._n = n
        self._vocabulary = Vocabulary()
        self._equal = {same_text(text): i for i, text in reversed(list(enumerate(evaluation)))}
        self._short: dict[int, list[Hashes]] = {}
        self._halves: dict[tuple[int, int, int], list[int]] = {}
        self._texts: dict[int, tuple[Hashes, str]] = {}
        if templated:
            return
        rows = self._vocabulary.hashes(evaluation)
        grams, owner = _telling(*windows(rows, n), len(evaluation))
        self._grams, first = np.unique(grams, return_index=True)
        self._owner = owner[first]
        for i, row in enumerate(rows):
            if 3 <= len(row) < 2 * n:
                self._remember(i, row, evaluation[i])

    def check(self, texts: Sequence[str]) -> list[Leak | None]:
        """For each text the leak that was found first, in the order of the rules; None for a clean one."""
        found: list[Leak | None] = []
        for text in texts:
            equal = self._equal.get(same_text(text))
            found.append(None if equal is None else Leak(rule="equal", evaluation=equal))
        if self._templated:
            return found
        rows = self._vocabulary.hashes(texts)
        grams, owner = windows(rows, self._n)
        if len(grams) and len(self._grams):
            at = np.minimum(np.searchsorted(self._grams, grams), len(self._grams) - 1)
            for hit in np.flatnonzero(self._grams[at] == grams):
                row = int(owner[hit])
                found[row] = found[row] or Leak(rule="ngram", evaluation=int(self._owner[at[hit]]))
        for row, words in enumerate(rows):
            if found[row] is None and 3 <= len(words) <= 2 * self._n:
                near = self._near(words, texts[row])
                found[row] = None if near is None else Leak(rule="near", evaluation=near)
        return found

    def _remember(self, index: int, words: Hashes, text: str) -> None:
        """Under its first and its last half: one change leaves one of the two as it was."""
        half = len(words) // 2
        self._texts[index] = (words, text)
        for side, part in ((0, words[:half]), (1, words[len(words) - half :])):
            self._halves.setdefault((side, half, _key(part)), []).append(index)

    def _near(self, words: Hashes, text: str) -> int | None:
        seen: set[int] = set()
        for half in {(len(words) + change) // 2 for change in (-1, 0, 1)}:
            for side, part in ((0, words[:half]), (1, words[len(words) - half :])):
                for index in self._halves.get((side, half, _key(part)), ()):
                    if index not in seen and self._alike(words, text, *self._texts[index]):
                        return index
                    seen.add(index)
        return None

    def _alike(self, words: Hashes, text: str, others: Hashes, other: str) -> bool:
        from rapidfuzz.distance import Levenshtein  # here: the command line's help loads this module and compares nothing

        changes = Levenshtein.distance(words.tolist(), others.tolist())
        if len(others) >= self._n:
            return changes <= max(1, int(NEAR_SHARE * len(others)))
        one, two = " ".join(words_of(text)), " ".join(words_of(other))
        return changes <= 1 and _digits(one) == _digits(two) and Levenshtein.distance(one, two) <= NEAR_LETTERS


def _telling(grams: Hashes, owner: NDArray[np.int64], texts: int) -> tuple[Hashes, NDArray[np.int64]]:
    """The runs, each with the number of its text, that at most `COMMON_TEXTS` texts, or `COMMON_SHARE` of them, have."""
    order = np.lexsort((owner, grams))
    grams, owner = grams[order], owner[order]
    new_pair = np.ones(len(grams), dtype=bool)
    new_pair[1:] = (grams[1:] != grams[:-1]) | (owner[1:] != owner[:-1])
    grams, owner = grams[new_pair], owner[new_pair]
    _, of_gram, texts_with = np.unique(grams, return_inverse=True, return_counts=True)
    few = texts_with[of_gram] <= max(COMMON_TEXTS, COMMON_SHARE * texts)
    return grams[few], owner[few]


def _key(part: Hashes) -> int:
    return hash(part.tobytes())


def _digits(text: str) -> str:
    return "".join(c for c in text if c.isdigit())
