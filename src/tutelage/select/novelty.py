"""Whether a text is new: not nearly the same as one that is already there."""

from __future__ import annotations

from collections.abc import Iterable

from tutelage.errors import SettingsError
from tutelage.select.diversity import likeness
from tutelage.select.words import words_of


class Novelty:
    """Texts known so far. A new one is taken if no known one has a ROUGE-L F1 above `most` with it (LLM2LLM: 0.95).

    Linear in the number of known texts.
    """

    def __init__(self, texts: Iterable[str] = (), *, most: float = 0.95) -> None:
        if not 0 <= most <= 1:
            raise SettingsError("most likeness of a new text must be in [0, 1]", got=most)
        self._most = most
        self._known: list[list[str]] = [words_of(text) for text in texts]

    def take(self, text: str) -> bool:
        """True, and known from now on, if the text is new; False if it is not. A text without words is never new."""
        words = words_of(text)
        if not words or self._has_like(words):
            return False
        self._known.append(words)
        return True

    def _has_like(self, words: list[str]) -> bool:
        from rapidfuzz.distance import Indel  # here: `tutelage show` loads recipes and compares nothing
        from rapidfuzz.process import extractOne

        # Insertions and deletions alone, over the sum of lengths: that is 1 minus ROUGE-L's F1. A little below `most`, for its rounding.
        nearest = extractOne(words, self._known, scorer=Indel.normalized_similarity, score_cutoff=max(0.0, self._most - 1e-9))
        return nearest is not None and likeness(words, nearest[0]) > self._most
