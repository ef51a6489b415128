"""Texts changed word by word, without a model."""

from __future__ import annotations

import random


def edit_words(text: str, *, share: float, rng: random.Random) -> str:
    """The text with about `share` of its words swapped with another, left out or repeated elsewhere (EDA, Wei and Zou 2019, arXiv
    1901.11196, without synonyms). At least one edit; a text of one word comes back as it is."""
    words = text.split()
    if len(words) < 2:
        return text
    for _ in range(max(1, round(share * len(words)))):
        kind = rng.choice(("swap", "delete", "insert") if len(words) > 2 else ("swap", "insert"))
        if kind == "swap":
            i, j = rng.sample(range(len(words)), 2)
            words[i], words[j] = words[j], words[i]
        elif kind == "delete":
            del words[rng.randrange(len(words))]
        else:
            words.insert(rng.randrange(len(words) + 1), rng.choice(words))
    return " ".join(words)
