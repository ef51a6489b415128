"""The two-parameter model against a slow twin and simulated truth; point-biserial by hand; the choice between them."""

import math
import random

import numpy as np
import pytest
from scipy import stats

from tutelage.errors import SettingsError
from tutelage.measure import discrimination, most_discriminating, point_biserial, spearman, two_parameter


def simulate(rng, rows, alphas):
    theta = [rng.gauss(0, 1) for _ in range(rows)]
    beta = [rng.gauss(0, 1) for _ in alphas]
    matrix = [[float(rng.random() < 1 / (1 + math.exp(-a * (t - b)))) for a, b in zip(alphas, beta)] for t in theta]
    return matrix, theta, beta


def slow_log_posterior(matrix, fit):
    total = 0.0
    for i, row in enumerate(matrix):
        for j, cell in enumerate(row):
            if cell is None:
                continue
            p = 1 / (1 + math.exp(-fit.alpha[j] * (fit.theta[i] - fit.beta[j])))
            total += math.log(p) if cell else math.log(1 - p)
    prior = [*fit.theta, *fit.beta, *(math.log(a) for a in fit.alpha)]
    return total - 0.5 * sum(v * v for v in prior)


def test_the_fit_is_a_mode_of_the_posterior_written_in_loops():
    matrix, _, _ = simulate(random.Random(0), 8, [0.5, 1.0, 1.5, 2.0, 2.5])
    matrix[2][3] = None
    fit = two_parameter(matrix)
    assert fit.converged
    best = slow_log_posterior(matrix, fit)
    assert best == pytest.approx(fit.log_posterior, abs=1e-9)
    # No step in any direction is better.
    rng = random.Random(1)
    for _ in range(60):
        nudge = lambda values: tuple(v + rng.gauss(0, 0.02) for v in values)  # noqa: E731
        moved = type(fit)(
            alpha=tuple(a * math.exp(rng.gauss(0, 0.02)) for a in fit.alpha), beta=nudge(fit.beta), theta=nudge(fit.theta),
            log_posterior=0.0, iterations=0, converged=True,
        )  # fmt: skip
        assert slow_log_posterior(matrix, moved) < best


def test_one_answer_by_hand():
    # One row, one item, right: by symmetry theta = -beta, and with x = theta the mode solves x = alpha * sigmoid(-2 alpha x) and
    # log alpha = 2 x alpha * sigmoid(-2 alpha x) = 2 x^2.
    fit = two_parameter([[1.0]])
    x, alpha = fit.theta[0], fit.alpha[0]
    assert fit.beta[0] == pytest.approx(-x, abs=1e-6)
    assert x == pytest.approx(alpha / (1 + math.exp(2 * alpha * x)), abs=1e-6)
    assert math.log(alpha) == pytest.approx(2 * x * x, abs=1e-5)


def test_parameters_are_recovered_and_ranking_beats_chance():
    rng = random.Random(3)
    alphas = [rng.choice([0.3, 2.5]) for _ in range(60)]
    matrix, theta, beta = simulate(rng, 60, alphas)
    fit = two_parameter(matrix)
    assert np.corrcoef(fit.theta, theta)[0, 1] > 0.9
    assert (spearman(fit.alpha, alphas) or 0) > 0.6
    steep = [j for j, a in enumerate(alphas) if a > 1]
    assert np.corrcoef([fit.beta[j] for j in steep], [beta[j] for j in steep])[0, 1] > 0.85


def test_a_mis_keyed_item_ranks_last():
    rng = random.Random(5)
    matrix, _, _ = simulate(rng, 40, [2.0] * 10)
    for row in matrix:
        row[4] = 1 - row[4]
    fit = two_parameter(matrix)
    assert min(range(10), key=lambda j: fit.alpha[j]) == 4
    assert point_biserial(matrix)[4] < 0
    found = discrimination(matrix, min_rows=10**6)
    assert 4 not in most_discriminating(found, 10)


def test_items_everybody_solves_stay_finite():
    fit = two_parameter([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    assert all(math.isfinite(v) for v in (*fit.alpha, *fit.beta, *fit.theta))
    assert fit.beta[0] < fit.beta[2] < fit.beta[1]
    blind = two_parameter([[None, 1.0], [None, 0.0]])
    assert blind.alpha[0] == pytest.approx(1.0)
    assert blind.beta[0] == pytest.approx(0.0)


def test_the_fit_repeats_to_the_last_bit():
    matrix, _, _ = simulate(random.Random(9), 12, [1.0] * 20)
    assert two_parameter(matrix) == two_parameter(matrix)


def test_point_biserial_by_hand():
    matrix = [[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]]
    found = point_biserial(matrix)
    # item 0 against the mean of the other two: (1,1,0,0) with (1, .5, .5, 0)
    assert found[0] == pytest.approx(stats.pearsonr([1, 1, 0, 0], [1, 0.5, 0.5, 0])[0])
    assert found[1] == pytest.approx(stats.pearsonr([1, 0, 1, 0], [1, 1, 0, 0])[0])


def test_point_biserial_edges():
    assert point_biserial([[1, 1], [1, 0]]) == (None, None)  # column 0 constant; its rest for column 1 constant too
    assert point_biserial([[1], [0]]) == (None,)  # nothing else to compare with
    assert point_biserial([[1, 0, 1]]) == (None, None, None)
    assert point_biserial([[1, 1, None], [0, 0, None], [1, 1, 1]])[0] == pytest.approx(1.0)


def test_the_choice_says_which_and_why():
    few = [[1, 0, 1], [0, 0, 1], [1, 1, 1]]
    found = discrimination(few)
    assert found.method == "point_biserial"
    assert "3 distinct rows" in found.why
    matrix, _, _ = simulate(random.Random(2), 12, [1.0] * 15)
    many = discrimination(matrix)
    assert many.method == "two_parameter"
    assert many.values == two_parameter(matrix).alpha
    # twelve copies of one row are one row
    assert discrimination([few[0]] * 12).method == "point_biserial"


def test_most_discriminating_takes_positive_items_ties_in_order():
    found = discrimination([[1, 0, 1], [0, 1, 1]])
    picked = type(found)(values=(0.5, None, -0.2, 0.9, 0.5, 0.0), method="point_biserial", why="")
    assert most_discriminating(picked, 2) == [3, 0]
    assert most_discriminating(picked, 10) == [3, 0, 4]
    assert most_discriminating(picked, 0) == []


@pytest.mark.parametrize("matrix", [[], [[]], [[1, 0], [1]], [[2.0]]])
def test_a_matrix_that_is_none_is_refused(matrix):
    for call in (two_parameter, point_biserial, discrimination):
        with pytest.raises(SettingsError, match="matrix"):
            call(matrix)
