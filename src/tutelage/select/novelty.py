"""Whether a text is new: not nearly the same as one that is already there."""

from __future__ import annotations

from collections.abc import Iterable

from tutelage.errors import SettingsError
from tutelage.select.diversity import common_length
from tutelage.select.words import words_of


class Novelty:
    """Texts known so far. A new one is taken if no known one has a ROUGE-L F1 above `most` with it (LLM2LLM: 0.95).

    Linear in the number of known texts; those whose length alone keeps the score below `most` cost nothing.
    """

    def __init__(self, texts: Iterable[str] = (), *, most: float = 0.95) -> None:
        if not 0 <= most <= 1:
            raise SettingsError("most likeness of a new text must be in [0, 1]", got=most)
        self._most = most
        self._known: list[list[str]] = [words_of(text) for text in texts]

    def take(self, text: str) -> bool:
        """True, and known from now on, if the text is new; False if it is not. A text without words is never new."""
        words = words_of(text)
        if not words or any(self._alike(words, other) for other in self._known):
            return False
        self._known.append(words)
        return True

    def _alike(self, one: list[str], other: list[str]) -> bool:
        total = len(one) + len(other)
        if 2 * min(len(one), len(other)) / total <= self._most:
            return False
        return 2 * common_length(one, other) / total > self._most
