"""Stop texts over token ids. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.engine.rendering import Rendering


class StopTexts:
    """When a growing completion contains one of the texts, and what is left of it then."""

    def __init__(self, rendering: Rendering, texts: Sequence[str]) -> None:
        self._rendering = rendering
        self._texts = tuple(texts)
        self._may_end: dict[int, bool] = {}

    def over(self, ids: Sequence[int]) -> bool:
        """Whether the last id completed a stop text."""
        return bool(self._texts) and self._could_end(ids[-1]) and any(stop in self._rendering.text(ids) for stop in self._texts)

    def text(self, ids: Sequence[int]) -> str:
        """The completion's text up to the first stop text, without the id that ended it."""
        if ids and ids[-1] in self._rendering.stop_ids:
            ids = ids[:-1]
        text = self._rendering.text(ids)
        places = [place for stop in self._texts if (place := text.find(stop)) >= 0]
        return text[: min(places)] if places else text

    def _could_end(self, token: int) -> bool:
        """Whether this id may bring the last character of a stop text: most do not, and decoding the whole text is slow.

        Asked of the id twice in a row, because some tokenizers drop a space at the start. A byte of a longer character shows as U+FFFD.
        """
        if token not in self._may_end:
            piece = self._rendering.text((token, token))
            self._may_end[token] = "\ufffd" in piece or any(stop[-1] in piece for stop in self._texts)
        return self._may_end[token]
