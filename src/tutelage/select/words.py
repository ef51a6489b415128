"""Texts as sequences of hashed words, many at a time: the ground on which duplicates and leaks are found.

A word is a run of letters, digits or underscores after Unicode folding, or an arithmetic or logical operator, so spacing, case, punctuation
and thousands commas do not count, but 1 + 2 and 1 * 2 are different texts.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Hashes = NDArray[np.uint64]

BLOCK = 2048
"""Rows worked on at a time; streams hold one block."""
_CACHE_LIMIT = 500_000

_WORD = re.compile(r"\w+|[+*/^=<>|&~]|-(?=[\s\d(])")
_SPACE = re.compile(r"\s+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_HIDDEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_BASE = 0x9E3779B97F4A7C15  # odd, so that no word's hash is lost in a product


def words_of(text: str) -> list[str]:
    """The words of a text, folded."""
    return _WORD.findall(_THOUSANDS.sub("", _folded(text)))


def same_text(text: str) -> bytes:
    """16 bytes that two texts share when they differ in spacing and case only. Punctuation counts: parentheses change what is asked."""
    return hashlib.blake2b(_SPACE.sub("", _folded(text)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _folded(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _HIDDEN.sub("", text))
    return text.casefold()


class Vocabulary:
    """Words to 64-bit hashes, remembered up to a limit."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def hashes(self, texts: Sequence[str]) -> list[Hashes]:
        """One array per text, one hash per word."""
        return [np.array([self._hash(word) for word in words_of(text)], dtype=np.uint64) for text in texts]

    def _hash(self, word: str) -> int:
        found = self._known.get(word)
        if found is None:
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            found = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
            self._known[word] = found
        return found


def windows(rows: Sequence[Hashes], n: int) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes of all runs of n words, row after row, and for each the number of its row. Rows shorter than n have none."""
    joined = np.concatenate(rows) if rows else np.empty(0, dtype=np.uint64)
    if len(joined) < n:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    rolled = np.zeros(len(joined) - n + 1, dtype=np.uint64)
    factor = 1
    for offset in range(n):
        rolled += joined[offset : len(joined) - n + 1 + offset] * np.uint64(factor)
        factor = factor * _BASE % 2**64
    lengths = np.array([len(row) for row in rows])
    owner = np.repeat(np.arange(len(rows)), lengths)
    whole = owner[: len(rolled)] == owner[n - 1 :]
    return _mixed(rolled[whole]), owner[: len(rolled)][whole]


def blocks(items: Iterable[T], size: int = BLOCK) -> Iterator[list[T]]:
    """Lists of at most `size` items."""
    stream = iter(items)
    while block := list(islice(stream, size)):
        yield block


def _mixed(values: Hashes) -> Hashes:
    """Well-spread bits from sums of products (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
