"""Loss of texts from the log-probabilities of their tokens; its exponential is the perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean_nats(texts: Sequence[Sequence[float]]) -> float:
    """Mean negative log-probability per token over all tokens of all texts, in nats: long texts weigh more. 0 where there is no token."""
    tokens = sum(len(text) for text in texts)
    return -math.fsum(x for text in texts for x in text) / tokens if tokens else 0.0
