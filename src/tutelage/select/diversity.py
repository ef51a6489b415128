"""How alike texts are to one another: longest common subsequences (ROUGE-L) and edit distance, and a choice of texts far apart.

Both are computed with one big integer per row of the table (bit-parallel), which is some tens of times faster than a table of cells.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

from tutelage.select.words import words_of


def rouge_l(one: str, other: str) -> float:
    """F1 of the longest common subsequence of words, in [0, 1]; 0 where a text has no words, 1 where both have none."""
    return _f1(words_of(one), words_of(other))


def edit_similarity(one: str, other: str) -> float:
    """1 minus the edit distance in characters over the longer length; 1 for two empty texts."""
    longest = max(len(one), len(other))
    return 1 - edit_distance(one, other) / longest if longest else 1.0


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Least number of insertions, deletions and substitutions (Levenshtein; Hyyrö 2003, bit-parallel)."""
    if not one or not other:
        return max(len(one), len(other))
    places = _places(one)
    full, top = (1 << len(one)) - 1, 1 << (len(one) - 1)
    up, down, distance = full, 0, len(one)
    for item in other:
        match = places.get(item, 0)
        diagonal = (((match & up) + up) ^ up) | match | down
        right, left = down | (~(diagonal | up) & full), up & diagonal
        distance += bool(right & top) - bool(left & top)
        right, left = ((right << 1) | 1) & full, (left << 1) & full
        up, down = left | (~(diagonal | right) & full), right & diagonal
    return distance


def common_length(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence (Hyyrö 2004, bit-parallel)."""
    if not one or not other:
        return 0
    places = _places(one)
    full = (1 << len(one)) - 1
    state = full
    for item in other:
        match = state & places.get(item, 0)
        state = ((state + match) | (state - match)) & full
    return len(one) - state.bit_count()


def far_apart(texts: Sequence[str], *, most: float = 0.7) -> list[int]:
    """Indices of texts, in order, each with ROUGE-L below `most` to all that were kept before it (Self-Instruct's rule). Quadratic."""
    kept: list[int] = []
    words: list[list[str]] = []
    for i, text in enumerate(texts):
        these = words_of(text)
        if all(_bound(these, others) < most or _f1(these, others) < most for others in words):
            kept.append(i)
            words.append(these)
    return kept


def mean_rouge_l(texts: Sequence[str], *, rng: random.Random, pairs: int = 1000) -> float | None:
    """Mean ROUGE-L of random pairs of different rows: 0 is diverse. None for fewer than two texts."""
    if len(texts) < 2:
        return None
    words = [words_of(text) for text in texts]
    drawn = [rng.sample(range(len(texts)), 2) for _ in range(pairs)]
    return sum(_f1(words[i], words[j]) for i, j in drawn) / pairs


def distinct_share(texts: Sequence[str], *, n: int = 2) -> float | None:
    """Different runs of n words over all runs of n words; None where there are none."""
    runs = [tuple(words[i : i + n]) for words in map(words_of, texts) for i in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else None


def _places(items: Sequence[Hashable]) -> dict[Hashable, int]:
    """Item to the positions where it stands, as bits."""
    found: dict[Hashable, int] = {}
    for i, item in enumerate(items):
        found[item] = found.get(item, 0) | (1 << i)
    return found


def _bound(one: Sequence[str], other: Sequence[str]) -> float:
    """The F1 that two texts of these lengths can reach at most."""
    total = len(one) + len(other)
    return 2 * min(len(one), len(other)) / total if total else 1.0


def _f1(one: Sequence[str], other: Sequence[str]) -> float:
    total = len(one) + len(other)
    return 2 * common_length(one, other) / total if total else 1.0
