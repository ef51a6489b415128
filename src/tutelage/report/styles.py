"""In which way a text is written, judged by the drafts that were asked for in known ways.

An aligned teacher writes under the plain prompt, so its texts carry no label. The drafts do: each was asked for with a technique. A small
naive Bayes classifier over words learns the labels from them and is applied to the rest, but only where it can tell the drafts
themselves apart; how often it can is measured on drafts of other questions and shown.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

WORDS_READ = 120
"""The manner of a text shows in its beginning; long texts would only add noise and time."""
TELLS_APART = 0.8
"""Share of held-out drafts that must be recognised before shares are shown."""

_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Styles:
    """A fitted classifier: per style its log prior and the log odds of its features."""

    held_out: float
    """Accuracy on drafts of questions it had not seen."""
    _counts: Mapping[str, Counter[str]]
    _drafts: Mapping[str, int]

    def of(self, text: str) -> str:
        """The likeliest style; equal ones in alphabetical order."""
        return _likeliest(text, self._counts, self._drafts)


def learn_styles(drafts: Sequence[tuple[str, str, str]]) -> Styles | None:
    """From (question id, style, text) drafts; None with fewer than two styles or questions, or where styles cannot be told apart."""
    questions = list(dict.fromkeys(q for q, _, _ in drafts))
    if len({style for _, style, _ in drafts}) < 2 or len(questions) < 2:
        return None
    half = set(questions[::2])
    right = 0
    for inside in (True, False):
        counts, sizes = _fit([d for d in drafts if (d[0] in half) == inside])
        right += sum(_likeliest(text, counts, sizes) == style for q, style, text in drafts if (q in half) != inside)
    held_out = right / len(drafts)
    if held_out < TELLS_APART:
        return None
    counts, sizes = _fit(drafts)
    return Styles(held_out=held_out, _counts=counts, _drafts=sizes)


def style_shares(styles: Styles, texts: Sequence[str]) -> list[tuple[str, float]]:
    """Share of each style among the texts, largest first."""
    found = Counter(styles.of(text) for text in texts)
    return [(style, n / len(texts)) for style, n in sorted(found.items(), key=lambda kv: (-kv[1], kv[0]))]


def _features(text: str) -> set[str]:
    """Which words, pairs of neighbours, first words and rough length a text has. All numbers are one word."""
    words = ["0" if w.isdigit() else w for w in _WORD.findall(text.lower())][:WORDS_READ]
    return {*words, *map(" ".join, pairwise(words)), f"first {' '.join(words[:1])}", f"long {len(words).bit_length()}"}


def _fit(drafts: Sequence[tuple[str, str, str]]) -> tuple[dict[str, Counter[str]], dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    sizes: dict[str, int] = {}
    for _, style, text in drafts:
        counts.setdefault(style, Counter()).update(_features(text))
        sizes[style] = sizes.get(style, 0) + 1
    return counts, sizes


def _likeliest(text: str, counts: Mapping[str, Counter[str]], sizes: Mapping[str, int]) -> str:
    features = _features(text)
    total = sum(sizes.values())

    def score(style: str) -> float:
        n = sizes[style]
        return math.log(n / total) + sum(math.log((counts[style][f] + 0.5) / (n + 1)) for f in features)

    return max(sorted(sizes), key=score)
