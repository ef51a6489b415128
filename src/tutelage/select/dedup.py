"""Duplicates in a stream of texts: equal ones, and near ones by MinHash. Memory per row is constant, whatever the texts' length.

MinHash estimates the share of common word triples (Jaccard). The signatures are made in numpy for a block of rows at a time; bands of
the signature find candidates (locality-sensitive hashing), the whole signature decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import SettingsError
from tutelage.select.words import Hashes, Vocabulary, same_text, windows

BANDS, ROWS = 20, 6
"""120 hash functions. Two texts that share 80 % of their triples meet in a band with 99.8 % probability, at 50 % with 27 %."""


class ExactDuplicates:
    """Finds texts with the same words. 16 bytes a row and what a set needs around them."""

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}
        self._rows = 0

    def add(self, texts: Sequence[str]) -> list[int | None]:
        """For each text the row, counted over all calls, of the first equal text; None where it is the first itself."""
        found: list[int | None] = []
        for text in texts:
            first = self._first.setdefault(same_text(text), self._rows)
            found.append(None if first == self._rows else first)
            self._rows += 1
        return found


class NearDuplicates:
    """Finds texts that share at least `threshold` of their word triples with an earlier text that was itself kept.

    Texts with fewer than three words are compared by equality. 960 bytes a kept row at most.
    """

    def __init__(self, *, threshold: float = 0.8, words: int = 3, seed: int = 0) -> None:
        if not 0 < threshold <= 1:
            raise SettingsError("threshold of near duplicates must be in (0, 1]", got=threshold)
        self._threshold = threshold
        self._words = words
        random = np.random.default_rng(seed)
        self._multiply = random.integers(1, 2**63, size=BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
        self._shift = random.integers(0, 2**63, size=BANDS * ROWS, dtype=np.uint64)
        self._vocabulary = Vocabulary()
        self._short = ExactDuplicates()
        self._short_rows: list[int] = []
        self._rows = 0
        self._kept_rows: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._signatures: NDArray[np.uint32] = np.empty((0, BANDS * ROWS), dtype=np.uint32)
        self._used = 0
        self._keys = [np.empty(0, dtype=np.uint64) for _ in range(BANDS)]
        self._places = [np.empty(0, dtype=np.int64) for _ in range(BANDS)]

    def add(self, texts: Sequence[str]) -> list[int | None]:
        """For each text the row, counted over all calls, of an earlier text that it nearly repeats; None where there is none."""
        hashes = self._vocabulary.hashes(texts)
        long = [i for i, row in enumerate(hashes) if len(row) >= self._words]
        found: list[int | None] = [None] * len(texts)
        for i in sorted(set(range(len(texts))) - set(long)):
            first = self._short.add([texts[i]])[0]
            self._short_rows.append(self._rows + i)
            found[i] = None if first is None else self._short_rows[first]
        if long:
            signatures = self._sign([hashes[i] for i in long])
            for i, row in zip(long, self._place(signatures, np.array(long) + self._rows), strict=True):
                found[i] = row
        self._rows += len(texts)
        return found

    def _sign(self, rows: Sequence[Hashes]) -> NDArray[np.uint32]:
        """One signature per row: the least value of every hash function over the row's windows."""
        grams, owner = windows(rows, self._words)
        starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        signed = np.empty((len(rows), BANDS * ROWS), dtype=np.uint32)
        for k in range(BANDS * ROWS):
            mixed = ((grams * self._multiply[k] + self._shift[k]) >> np.uint64(32)).astype(np.uint32)
            signed[:, k] = np.minimum.reduceat(mixed, starts)
        return signed

    def _place(self, signatures: NDArray[np.uint32], rows: NDArray[np.int64]) -> list[int | None]:
        keys = self._band_keys(signatures)
        earlier = self._candidates(keys)
        fresh: list[dict[int, int]] = [{} for _ in range(BANDS)]
        """Of this block: band key to place among the kept."""
        found: list[int | None] = []
        self._reserve(len(rows))
        begin = self._used
        kept_here: list[int] = []
        for i in range(len(rows)):
            near = {int(earlier[band][i]) for band in range(BANDS) if earlier[band][i] >= 0}
            near |= {fresh[band][int(keys[i, band])] for band in range(BANDS) if int(keys[i, band]) in fresh[band]}
            best = self._closest(signatures[i], sorted(near))
            if best is not None:
                found.append(int(self._kept_rows[best]))
                continue
            found.append(None)
            self._signatures[self._used] = signatures[i]
            self._kept_rows[self._used] = rows[i]
            for band in range(BANDS):
                fresh[band].setdefault(int(keys[i, band]), self._used)
            kept_here.append(i)
            self._used += 1
        self._merge(keys[kept_here], np.arange(begin, self._used))
        return found

    def _band_keys(self, signatures: NDArray[np.uint32]) -> Hashes:
        keys = np.zeros((len(signatures), BANDS), dtype=np.uint64)
        for row in range(ROWS):
            keys = (keys ^ signatures[:, row::ROWS].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
        return keys

    def _candidates(self, keys: Hashes) -> list[NDArray[np.int64]]:
        """Per band, for each row the place of a kept row with the same key, else -1."""
        found = []
        for band in range(BANDS):
            known, places = self._keys[band], self._places[band]
            if not len(known):
                found.append(np.full(len(keys), -1, dtype=np.int64))
                continue
            at = np.minimum(np.searchsorted(known, keys[:, band]), len(known) - 1)
            found.append(np.where(known[at] == keys[:, band], places[at], -1))
        return found

    def _closest(self, signature: NDArray[np.uint32], places: Sequence[int]) -> int | None:
        if not places:
            return None
        alike = (self._signatures[list(places)] == signature).mean(axis=1)
        best = int(np.argmax(alike))
        return places[best] if alike[best] >= self._threshold else None

    def _reserve(self, rows: int) -> None:
        """Room for `rows` more, grown by half so that copying stays cheap."""
        wanted = self._used + rows
        if wanted <= len(self._signatures):
            return
        size = max(wanted, len(self._signatures) * 3 // 2)
        grown = np.empty((size, BANDS * ROWS), dtype=np.uint32)
        grown[: self._used] = self._signatures[: self._used]
        self._signatures = grown
        self._kept_rows = np.resize(self._kept_rows, size)

    def _merge(self, keys: Hashes, places: NDArray[np.int64]) -> None:
        """Adds the block's keys to the sorted ones of every band."""
        if not len(places):
            return
        for band in range(BANDS):
            joined = np.concatenate([self._keys[band], keys[:, band]])
            order = np.argsort(joined, kind="stable")
            self._keys[band] = joined[order]
            self._places[band] = np.concatenate([self._places[band], places])[order]
