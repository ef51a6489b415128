"""Which labelled problems to measure a student's preference on."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tutelage.records import Problem


def discriminating_probes(
    problems: Sequence[Problem], matrix: Sequence[Sequence[float]], *, wanted: int, rng: random.Random
) -> tuple[list[Problem], dict[str, object]]:
    """The `wanted` problems that best tell able from less able configurations (ARTE Sec. 3.2, item response theory).

    `matrix` has one row per (model, shots) configuration and one column per problem. Where fewer items discriminate (all configurations
    right, or all wrong, or better ones worse), the rest is drawn at random, since a probe set of the easiest items would say less; the
    returned facts tell how many were chosen and how.
    """
    from tutelage.measure import discrimination, most_discriminating  # not at the top: `tutelage list` would pay for it

    found = discrimination(matrix)
    best = most_discriminating(found, wanted)
    rest = [i for i in range(len(problems)) if i not in set(best)]
    filler = rng.sample(rest, k=min(len(rest), max(0, wanted - len(best))))
    chosen = [problems[i] for i in (*best, *filler)]
    return chosen, {
        "method": found.method,
        "why": found.why,
        "chosen_by_discrimination": len(best),
        "drawn_at_random": len(filler),
        "of": len(problems),
    }
