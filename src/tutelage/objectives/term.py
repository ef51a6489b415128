"""What a fit charges for: terms with their own unit and count, and sums of them. Torch-free, so recipes can build and describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tutelage.errors import SettingsError, did_you_mean

UNITS = ("token", "sequence", "pair", "group")
"""What a value can stand for, and what a sum can be divided by."""

QUANTITIES: Mapping[str, tuple[str, str]] = {
    "logits": ("token", "(tokens, vocab) tile of the student's logits on the real tokens"),
    "teacher_logits": ("token", "(tokens, vocab) tile of the teacher's logits on the same tokens"),
    "neighbour_logits": ("token", "(tokens, 2, vocab) tile of the student's logits at the charged token before and here"),
    "teacher_neighbour_logits": ("token", "(tokens, 2, vocab) tile of the teacher's"),
    "labels": ("token", "(tokens,) the id that came next"),
    "shared_labels": ("token", "(tokens,) its place among the ids that student and teacher share"),
    "log_probs": ("token", "(tokens,) the student's log-probability of the label"),
    "reference_log_probs": ("token", "(tokens,) the frozen reference's log-probability of the label"),
    "behaviour_log_probs": ("token", "(tokens,) log-probability of the label under the policy that drew it"),
    "teacher_log_probs": ("token", "(tokens,) the teacher's log-probability of the label"),
    "teacher_top_ids": ("token", "(tokens, k) the teacher's likeliest ids"),
    "teacher_top_log_probs": ("token", "(tokens, k) their log-probabilities; what is missing to 1 is the tail"),
    "sequence_advantages": ("sequence", "(sequences,) the advantage of a sequence"),
    "chosen_hidden": ("pair", "(pairs, width) the student's last hidden state at the last token of the chosen sequence"),
    "rejected_hidden": ("pair", "(pairs, width)"),
    "advantages": ("token", "(tokens,) the advantage of the sequence a token belongs to"),
    "foreign": ("token", "(tokens,) 1 in texts that somebody else wrote or wrote on, as the source's marks say, else 0"),
    "hidden": ("token", "(tokens, width) the student's last hidden state at the predicting position"),
    "teacher_hidden": ("token", "(tokens, teacher width) the teacher's"),
    "sequence_log_probs": ("sequence", "(sequences,) summed over the charged tokens"),
    "reference_sequence_log_probs": ("sequence", "(sequences,)"),
    "sequence_tokens": ("sequence", "(sequences,) how many tokens are charged"),
    "sequence_labels": ("sequence", "(sequences,) class index, or 1 for desirable and 0 for undesirable"),
    "class_logits": ("sequence", "(sequences, classes) of the class head"),
    "vectors": ("sequence", "(sequences, width) mean of the last hidden states over the sequence's tokens"),
    "mismatched_log_ratios": ("window", "(sequences,) policy over reference for completions under another example's prompt"),
    "chosen_log_probs": ("pair", "(pairs,) summed over the chosen completion"),
    "rejected_log_probs": ("pair", "(pairs,) summed over the rejected completion"),
    "reference_chosen_log_probs": ("pair", "(pairs,)"),
    "reference_rejected_log_probs": ("pair", "(pairs,)"),
    "chosen_tokens": ("pair", "(pairs,) length of the chosen completion in tokens"),
    "rejected_tokens": ("pair", "(pairs,)"),
    "chosen_scores": ("pair", "(pairs,) scalar head at the last token of the chosen sequence"),
    "rejected_scores": ("pair", "(pairs,)"),
    "margins": ("pair", "(pairs,) how much better the chosen one is, where the record says; else 0"),
}
"""All that a term may take: name -> (one value per, shape and meaning)."""

FROM_TARGETS = frozenset(
    {
        "teacher_logits",
        "teacher_neighbour_logits",
        "teacher_hidden",
        "teacher_log_probs",
        "teacher_top_ids",
        "teacher_top_log_probs",
        "reference_log_probs",
        "reference_sequence_log_probs",
        "reference_chosen_log_probs",
        "reference_rejected_log_probs",
        "mismatched_log_ratios",
    }
)
"""Of these, what a fit has only where it is given targets that offer it."""

Option = float | int | str | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A weight that moves linearly over a share of the steps and then stays."""

    start: float
    end: float
    share: float = 1.0
    """Of all steps, in (0, 1]."""

    def at(self, progress: float) -> float:
        """The weight when `progress` of the steps (0 to 1) is done."""
        return self.start + (self.end - self.start) * min(1.0, progress / self.share)

    def scaled(self, factor: float) -> Ramp:
        return Ramp(start=self.start * factor, end=self.end * factor, share=self.share)

    def describe(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.end, "share": self.share}


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A weight that changes once, after a share of the steps."""

    before: float
    after: float
    share: float
    """Of all steps: 0 is `after` from the first step, 1 is `before` to the last."""

    def at(self, progress: float) -> float:
        """The weight when `progress` of the steps (0 to 1) is done."""
        return self.before if progress < self.share else self.after

    def scaled(self, factor: float) -> Switch:
        return Switch(before=self.before * factor, after=self.after * factor, share=self.share)

    def describe(self) -> dict[str, Any]:
        return {"before": self.before, "after": self.after, "share": self.share}


Weight = float | Ramp | Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A parameter matrix that belongs to a term, not to the model; trained with it and saved beside it."""

    name: str
    rows: str
    """`hidden` (the student's width), `teacher_hidden`, or a number in digits."""
    columns: str
    start: float = 1.0
    """Spread of the random numbers that it starts from, over the root of its rows; 0 for zeros."""

    def describe(self) -> dict[str, Any]:
        start = {"start": self.start} if self.start != 1.0 else {}  # so that fits with other matrices keep their keys
        return {"name": self.name, "rows": self.rows, "columns": self.columns, **start}


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One charged quantity. Its function is a pure tensor function that returns one value per `grain` and never reduces;
    the loop sums the values and divides once by the number of `unit`s in the whole window."""

    name: str
    function: str
    """`module:function`, imported when the fit starts."""
    takes: tuple[str, ...]
    """Names from `QUANTITIES`, in the order of the function's arguments."""
    grain: str
    """What the function returns one value for."""
    unit: str
    """What is counted. Grain `token` with unit `sequence` means: the mean over the tokens of each sequence, then over sequences."""
    options: tuple[tuple[str, Option], ...] = ()
    """Keyword arguments of the function."""
    weight: Weight = 1.0
    over: str = ""
    """Only rows of this role (`chosen`, `rejected`); empty for all rows."""
    where: str = ""
    """Only tokens that bring this fact, each weighed by it: a mask that is known before the forward pass. Empty for all tokens."""
    coupled: bool = False
    """Examples are compared with one another: a window with such a term is never split."""
    report: str = ""
    """`module:function` with the same arguments that returns named values per unit, measured before and after the fit."""
    own: tuple[Own, ...] = ()
    """Parameters of its own, passed to the function by name."""

    def __post_init__(self) -> None:
        for name in self.takes:
            if name not in QUANTITIES:
                raise SettingsError(f"term '{self.name}' takes an unknown quantity", got=name, fix=did_you_mean(name, QUANTITIES))
        for name in (self.grain, self.unit):
            if name not in UNITS:
                raise SettingsError(f"term '{self.name}' has an unknown unit", got=name, fix=did_you_mean(name, UNITS))
        if self.grain != self.unit and (self.grain, self.unit) != ("token", "sequence"):
            raise SettingsError(
                f"term '{self.name}' cannot be counted so",
                got=f"{self.grain} per {self.unit}",
                fix="use token per sequence, or equal units",
            )
        if self.where and self.grain != "token":
            raise SettingsError(f"term '{self.name}' marks tokens, but has one value per {self.grain}", got=self.where)

    def weight_at(self, progress: float) -> float:
        return self.weight if isinstance(self.weight, float | int) else self.weight.at(progress)

    def describe(self) -> dict[str, Any]:
        """All that can change a number, as JSON."""
        return {
            "name": self.name,
            "function": self.function,
            "takes": list(self.takes),
            "unit": [self.grain, self.unit],
            "options": dict(self.options),
            "weight": self.weight if isinstance(self.weight, float | int) else self.weight.describe(),
            "over": self.over,
            "coupled": self.coupled,
            "own": [o.describe() for o in self.own],
            **({"where": self.where} if self.where else {}),  # left out elsewhere, so that fits without it keep their keys
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A sum of terms. `a + b` adds two, `0.5 * a` weighs one, `Ramp(...) * a` over the steps."""

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise SettingsError("an objective needs at least one term", got=())

    def __add__(self, other: Objective) -> Objective:
        return Objective(terms=self.terms + other.terms)

    def __rmul__(self, factor: Weight) -> Objective:
        return Objective(terms=tuple(replace(t, weight=_scaled(t.weight, factor)) for t in self.terms))

    def where(self, mark: str) -> Objective:
        """The same, charged only on tokens with this mark and divided by their number."""
        return Objective(terms=tuple(replace(t, where=mark) for t in self.terms))

    @property
    def takes(self) -> frozenset[str]:
        return frozenset(name for t in self.terms for name in t.takes)

    @property
    def coupled(self) -> bool:
        return any(t.coupled for t in self.terms)

    def describe(self) -> dict[str, Any]:
        return {"terms": [t.describe() for t in self.terms]}


def _scaled(weight: Weight, factor: Weight) -> Weight:
    if isinstance(factor, float | int):
        return weight * factor if isinstance(weight, float | int) else weight.scaled(factor)
    if isinstance(weight, float | int):
        return factor.scaled(weight)
    raise SettingsError("a weight that moves over the steps cannot be multiplied by another one", got=[weight, factor])
