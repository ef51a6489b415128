"""Which items of a validation set tell able models from less able ones.

Rows of a response matrix are (model, shots) configurations, columns are items; 1 is right, 0 wrong, None not asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.errors import SettingsError
from tutelage.measure.correlation import pearson

Matrix = Sequence[Sequence[float | None]]

MIN_ROWS = 12
"""Distinct rows from which the two-parameter model is fitted: eight (two models, 0 to 3 shots) are too few for it, the paper had 20, our
laptop-scale check 12 checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResponse:
    """The two-parameter logistic model P(right) = sigmoid(alpha (theta - beta)) at its posterior mode."""

    alpha: tuple[float, ...]
    """Discrimination per item, positive by construction; a mis-keyed item comes out near 0."""
    beta: tuple[float, ...]
    """Difficulty per item."""
    theta: tuple[float, ...]
    """Ability per row."""
    log_posterior: float
    """Up to a constant, in nats."""
    iterations: int
    converged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrimination:
    """How well each item discriminates, and how that was found."""

    values: tuple[float | None, ...]
    """Per item; None where it cannot be said (everybody right, or everybody wrong, under point-biserial)."""
    method: str
    """`two_parameter` or `point_biserial`."""
    why: str
    """One sentence for the report."""


def two_parameter(matrix: Matrix, *, iterations: int = 500) -> ItemResponse:
    """Maximum a posteriori fit under N(0, 1) priors on every theta, beta and log alpha.

    The priors settle what the likelihood leaves open (scale, sign, items that everybody solves). Deterministic: L-BFGS from the log-odds
    of the row and column means.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import expit

    observed, right = _arrays(matrix)
    rows, columns = observed.shape
    log_odds = lambda hits, asked: np.log((hits + 0.5) / (asked - hits + 0.5))  # noqa: E731
    theta0 = log_odds((right * observed).sum(1), observed.sum(1))
    beta0 = -log_odds((right * observed).sum(0), observed.sum(0))

    def negative_log_posterior(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta, beta, log_alpha = flat[:rows], flat[rows : rows + columns], flat[rows + columns :]
        alpha = np.exp(log_alpha)
        gap = theta[:, None] - beta[None, :]
        logits = alpha * gap
        # -log P = log(1 + exp(z)) - y z, stable for any z.
        value = float((observed * (np.logaddexp(0.0, logits) - right * logits)).sum() + 0.5 * (flat @ flat))
        slope = observed * (expit(logits) - right)
        gradient = np.concatenate([(slope * alpha).sum(1), -(slope * alpha).sum(0), (slope * gap).sum(0) * alpha])
        return value, gradient + flat

    start = np.concatenate([theta0, beta0, np.zeros(columns)])
    # An absurd step of the line search may overflow exp(log alpha); bounds far outside the prior keep every value finite.
    limits = [(-20.0, 20.0)] * (rows + columns) + [(-6.0, 6.0)] * columns
    found = minimize(
        negative_log_posterior,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=limits,
        options={"maxiter": iterations, "maxfun": 4 * iterations, "ftol": 1e-12, "gtol": 1e-7},
    )
    theta, beta, log_alpha = found.x[:rows], found.x[rows : rows + columns], found.x[rows + columns :]
    return ItemResponse(
        alpha=tuple(np.exp(log_alpha).tolist()),
        beta=tuple(beta.tolist()),
        theta=tuple(theta.tolist()),
        log_posterior=-float(found.fun),
        iterations=int(found.nit),
        converged=bool(found.success),
    )


def point_biserial(matrix: Matrix) -> tuple[float | None, ...]:
    """Per item the correlation, over rows, of being right on it with the row's share right on all other items.

    The item itself is left out of the share: with few items it would correlate with itself. None where it is constant over the rows.
    """
    _arrays(matrix)  # the same checks
    out: list[float | None] = []
    for j in range(len(matrix[0])):
        column: list[float] = []
        rest: list[float] = []
        for row in matrix:
            others = [v for k, v in enumerate(row) if k != j and v is not None]
            cell = row[j]
            if cell is not None and others:
                column.append(float(cell))
                rest.append(math.fsum(others) / len(others))
        out.append(pearson(column, rest))
    return tuple(out)


def discrimination(matrix: Matrix, *, min_rows: int = MIN_ROWS, iterations: int = 500) -> Discrimination:
    """Discrimination per item by the two-parameter model where enough distinct rows carry it, else by point-biserial; says which."""
    _arrays(matrix)
    distinct = len({tuple(row) for row in matrix})
    if distinct >= min_rows:
        fit = two_parameter(matrix, iterations=iterations)
        return Discrimination(
            values=fit.alpha,
            method="two_parameter",
            why=f"two-parameter item response model, posterior mode over {distinct} distinct rows of answers",
        )
    rows = "1 distinct row" if distinct == 1 else f"{distinct} distinct rows"
    why = f"point-biserial correlation, since {rows} of answers cannot carry a two-parameter item response model (at least {min_rows})"
    return Discrimination(values=point_biserial(matrix), method="point_biserial", why=why)


def most_discriminating(found: Discrimination, k: int) -> list[int]:
    """Indices of the `k` best items, best first, ties in the order of the items. May be fewer: items that cannot be said and items at or
    below 0 (mis-keyed: better models miss them more often) are never taken."""
    usable = [(value, index) for index, value in enumerate(found.values) if value is not None and value > 0]
    return [index for _, index in sorted(usable, key=lambda pair: (-pair[0], pair[1]))[: max(k, 0)]]


def _arrays(matrix: Matrix):  # -> (observed mask, answers with 0 where unobserved), both float arrays [rows, items]
    import numpy as np

    if not matrix or not matrix[0]:
        raise SettingsError("a response matrix needs at least one row and one item", got=f"{len(matrix)} rows")
    if len({len(row) for row in matrix}) != 1:
        raise SettingsError("rows of a response matrix must be equally long", got=sorted({len(row) for row in matrix}))
    outside = [v for row in matrix for v in row if v is not None and not 0 <= v <= 1]
    if outside:
        raise SettingsError("answers in a response matrix must be in [0, 1] or None", got=outside[0])
    observed = np.array([[v is not None for v in row] for row in matrix], dtype=np.float64)
    right = np.array([[0.0 if v is None else float(v) for v in row] for row in matrix], dtype=np.float64)
    return observed, right
