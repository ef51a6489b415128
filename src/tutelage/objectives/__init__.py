"""The menu: every objective a recipe can name. Importing it loads no torch; the tensor functions are imported when a fit starts."""

from __future__ import annotations

from tutelage.errors import SettingsError
from tutelage.objectives.term import QUANTITIES, UNITS, Objective, Own, Ramp, Term

__all__ = ["QUANTITIES", "UNITS", "Objective", "Own", "Ramp", "Term", "cross_entropy", "dpo"]

_TOKENS = "tutelage.objectives.tokens"
_PREFERENCES = "tutelage.objectives.preferences"
_PAIR = ("chosen_log_probs", "rejected_log_probs", "reference_chosen_log_probs", "reference_rejected_log_probs")


def cross_entropy(*, per: str = "token", over: str = "") -> Objective:
    """Negative log-probability of every completion token, weighted by its span and example, over all weights of the window
    (or, with `per="sequence"`, the mean over each completion first)."""
    return Objective(
        terms=(
            Term(name="cross_entropy", function=f"{_TOKENS}:negative_log_prob", takes=("log_probs",), grain="token", unit=per, over=over),
        )
    )


def dpo(*, beta: float = 0.1, nll: float = 0.0, smoothing: float = 0.0) -> Objective:
    """Direct preference optimisation. `nll` adds that weight of the chosen completion's mean negative log-probability per token;
    `smoothing` is the assumed share of flipped labels (conservative DPO)."""
    _positive("dpo", "beta", beta)
    if not 0 <= smoothing < 0.5:
        raise SettingsError("dpo needs a smoothing in [0, 0.5)", got=smoothing)
    term = Term(
        name="dpo",
        function=f"{_PREFERENCES}:dpo",
        takes=_PAIR,
        grain="pair",
        unit="pair",
        options=(("beta", beta), ("smoothing", smoothing)),
        report=f"{_PREFERENCES}:implicit_rewards",
    )
    return Objective(terms=(term,)) + nll * cross_entropy(per="sequence", over="chosen") if nll else Objective(terms=(term,))


def _positive(objective: str, name: str, value: float) -> None:
    if not value > 0:
        raise SettingsError(f"{objective} needs a positive {name}", got=value)
