"""Questions that resemble a given one, by their words."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.records import Problem

BLOCK = 512
"""Problems compared with the whole pool at a time."""


def most_alike(problems: Sequence[Problem], pool: Sequence[Problem], *, wanted: int, farthest: bool = False) -> dict[str, list[Problem]]:
    """For each problem, by id, the `wanted` ones of its skill in the pool whose words are most like its own.

    With `farthest` the least like ones, of other skills where the pool has any: problems of one skill follow one rule, however unlike
    their words are. Likeness is the cosine of word counts, rare words weighing more (inverse document frequency over the pool). The
    question itself is never chosen. Ties keep the order of the pool.
    """
    import numpy as np  # with scipy, not at the top: listing recipes must not pay for them
    from scipy.sparse import csr_matrix

    from tutelage.select.words import words_of

    chosen: dict[str, list[Problem]] = {}
    for skill in dict.fromkeys(p.skill for p in problems):
        mine = [p for p in problems if p.skill == skill]
        others = [p for p in pool if (p.skill != skill) == farthest] or [p for p in pool if farthest and p.skill == skill]
        if not others:
            chosen |= {p.id: [] for p in mine}
            continue
        words: dict[str, int] = {}
        texts = [[words.setdefault(w, len(words)) for w in words_of(p.text)] for p in (*others, *mine)]
        rows = np.repeat(np.arange(len(texts)), [len(t) for t in texts])
        columns = np.array([w for t in texts for w in t], dtype=np.int64)
        counts = csr_matrix((np.ones(len(columns)), (rows, columns)), shape=(len(texts), max(1, len(words))))
        counts.sum_duplicates()
        seen_in = np.asarray((counts[: len(others)] > 0).sum(axis=0)).ravel()
        weighed = counts.multiply(np.log((1 + len(others)) / (1 + seen_in)) + 1.0).tocsr()
        norms = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
        unit = weighed.multiply(1.0 / np.maximum(norms, 1e-12)[:, None]).tocsr()
        held = unit[: len(others)].T
        for start in range(0, len(mine), BLOCK):
            block = mine[start : start + BLOCK]
            first = len(others) + start
            # Rounded, so that ties are ties whatever the order of the sums.
            likeness = np.round((unit[first : first + len(block)] @ held).toarray(), 9)
            order = np.argsort(likeness if farthest else -likeness, axis=1, kind="stable")
            for problem, ranked in zip(block, order, strict=True):
                itself = problem.text.split()
                near = (others[i] for i in ranked if others[i].text.split() != itself)
                chosen[problem.id] = [p for p, _ in zip(near, range(wanted), strict=False)]
    return chosen
