"""How alike texts are to one another: longest common subsequences of words (ROUGE-L), and a choice of texts far apart."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tutelage.select.words import words_of


def rouge_l(one: str, other: str) -> float:
    """F1 of the longest common subsequence of words, in [0, 1]; 0 where a text has no words, 1 where both have none."""
    return likeness(words_of(one), words_of(other))


def likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """`rouge_l` of texts that are given as words."""
    from rapidfuzz.distance import LCSseq  # here: `tutelage show` loads recipes and compares nothing

    total = len(one) + len(other)
    return 2 * LCSseq.similarity(one, other) / total if total else 1.0


def far_apart(texts: Sequence[str], *, most: float = 0.7) -> list[int]:
    """Indices of texts, in order, each with ROUGE-L below `most` to all that were kept before it (Self-Instruct's rule). Quadratic."""
    kept: list[int] = []
    words: list[list[str]] = []
    for i, text in enumerate(texts):
        these = words_of(text)
        if all(_bound(these, others) < most or likeness(these, others) < most for others in words):
            kept.append(i)
            words.append(these)
    return kept


def mean_rouge_l(texts: Sequence[str], *, rng: random.Random, pairs: int = 1000) -> float | None:
    """Mean ROUGE-L of random pairs of different rows: 0 is diverse. None for fewer than two texts."""
    if len(texts) < 2:
        return None
    words = [words_of(text) for text in texts]
    drawn = [rng.sample(range(len(texts)), 2) for _ in range(pairs)]
    return sum(likeness(words[i], words[j]) for i, j in drawn) / pairs


def distinct_share(texts: Sequence[str], *, n: int = 2) -> float | None:
    """Different runs of n words over all runs of n words; None where there are none."""
    runs = [tuple(words[i : i + n]) for words in map(words_of, texts) for i in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else None


def _bound(one: Sequence[str], other: Sequence[str]) -> float:
    """The F1 that two texts of these lengths can reach at most."""
    total = len(one) + len(other)
    return 2 * min(len(one), len(other)) / total if total else 1.0
