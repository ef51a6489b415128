"""What is asked of a fit that cannot be done, said before the first step: needs of terms, heads, records, places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.errors import CapabilityError, DataError, SettingsError
from tutelage.objectives.term import FROM_TARGETS, Objective, Term
from tutelage.train.settings import FitSettings
from tutelage.train.sources import Mixture, OnPolicy, Replay
from tutelage.train.targets import Targets
from tutelage.train.window import Group

_OF_CLASS_HEAD = frozenset({"class_logits", "chosen_scores", "rejected_scores"})
_OF_LM_HEAD = frozenset(
    {
        *("logits", "neighbour_logits", "log_probs", "sequence_log_probs", "mismatched_log_ratios"),
        *("chosen_log_probs", "rejected_log_probs"),
        *("reference_log_probs", "reference_sequence_log_probs", "reference_chosen_log_probs", "reference_rejected_log_probs"),
    }
)
_OF_PAIRS = ("chosen_", "rejected_", "reference_chosen_", "reference_rejected_")
_OF_ROLLOUTS = {
    "behaviour_log_probs": "behaviour_log_probs",
    "advantages": "advantages",
    "sequence_advantages": "advantages",
    "foreign": "foreign",
}
"""Quantity to the fact of a row that it is made of."""
_OF_POLICY = frozenset({"behaviour_log_probs", "sequence_advantages"})
_MODEL_FILES = ("config.json", "adapter_config.json")


def check_needs(objective: Objective, targets: Targets | None, settings: FitSettings) -> None:
    """Quantities that the targets do not offer, and heads that have none of what a term takes."""
    lacking = sorted((objective.takes & FROM_TARGETS) - (targets.offers if targets is not None else frozenset()))
    if lacking:
        raise CapabilityError(
            "objective takes quantities that the targets do not offer",
            got=f"{', '.join(lacking)} from {type(targets).__name__ if targets else 'no targets'}",
            fix="pass targets=Reference(model) for preferences, or a teacher for divergences",
        )
    for head, others in (("lm", _OF_CLASS_HEAD), ("class", _OF_LM_HEAD), ("embed", _OF_LM_HEAD | _OF_CLASS_HEAD)):
        if settings.head == head and (foreign := objective.takes & others):
            fitting = "head='class' with the number of classes" if foreign <= _OF_CLASS_HEAD else "head='lm'"
            names = ", ".join(t.name for t in objective.terms if foreign.intersection(t.takes))
            raise CapabilityError(f"objective takes what the {head} head does not give", got=names, fix=f"set {fitting}")


def is_policy(term: Term) -> bool:
    """Whether the term is a gradient of the policy that its rows were drawn from."""
    return not _OF_POLICY.isdisjoint(term.takes)


def check_drawing(objective: Objective, source: Any) -> None:
    """Rollouts from another distribution than the policy gradient could be taken of."""
    terms = [t.name for t in objective.terms if is_policy(t) and t.over in ("", "own", "edited")]
    if not terms:
        return
    for rollouts, again in _rollouts_of(source, again=False):
        if rollouts.top_p < 1.0 or rollouts.temperature == 0:
            name, other = ("temperature", 0.0) if rollouts.temperature == 0 else ("top_p", rollouts.top_p)
            raise SettingsError(
                f"term '{terms[0]}' cannot learn from rollouts that leave out a part of what the policy may say",
                got=f"{name}={other}", fix=f"draw the rollouts at {name}=1",
            )  # fmt: skip
        if rollouts.temperature != 1.0 and (again or rollouts.reuse > 1):
            raise SettingsError(
                f"term '{terms[0]}' cannot learn again from rollouts whose likelihood is known at temperature 1 only",
                got=f"temperature={rollouts.temperature}, " + ("replayed" if again else f"reuse={rollouts.reuse}"),
                fix="draw the rollouts at temperature=1, or use each once (reuse=1 and no Replay)",
            )


def _rollouts_of(source: Any, *, again: bool) -> list[tuple[OnPolicy, bool]]:
    """The sources of rollouts inside a source, and whether their rollouts are remembered."""
    if isinstance(source, OnPolicy):
        return [(source, again)]
    if isinstance(source, Mixture):
        return [found for part, _ in source.parts for found in _rollouts_of(part, again=again)]
    inner = getattr(source, "source", None)
    return [] if inner is None else _rollouts_of(inner, again=again or isinstance(source, Replay))


def check_out(out: Path) -> None:
    """Refuse to replace anything but a model that an earlier fit or somebody's save_pretrained has put there."""
    if out.exists() and not out.is_dir():
        raise SettingsError("the fit's folder is a file", got=str(out), fix="name a folder that does not exist yet")
    if out.is_dir() and any(out.iterdir()) and not any((out / name).is_file() for name in _MODEL_FILES):
        raise SettingsError("the fit's folder holds something that is not a model", got=str(out), fix="name a folder of its own")


def check_groups(objective: Objective, settings: FitSettings, groups: Sequence[Group]) -> None:
    """Rows that lack what a term reads from them. `groups` are all that is known beforehand, or a first window."""
    paired = any(r.role in ("chosen", "rejected") for g in groups for r in g.rows)
    for term in objective.terms:
        if _takes_pairs(term) and not paired:
            raise DataError(f"term '{term.name}' compares pairs, but the data are examples", got=_kinds(groups), fix="pass Pair records")
        _check_facts(term, groups)
        if "sequence_labels" in term.takes:
            _check_labels(term, settings, groups)
    whole = [t.name for t in objective.terms if not t.over and not _takes_pairs(t)]
    if paired and len(whole) == len(objective.terms):
        raise DataError(
            "the data are pairs, and the objective would learn the rejected texts as much as the chosen ones",
            got=", ".join(whole),
            fix="use a preference objective, or cross_entropy(over='chosen')",
        )


def _takes_pairs(term: Term) -> bool:
    return any(name.startswith(_OF_PAIRS) or name == "margins" for name in term.takes)


def _kinds(groups: Sequence[Group]) -> str:
    return f"{len(groups)} groups without a chosen and a rejected row"


def _check_facts(term: Term, groups: Sequence[Group]) -> None:
    mine = [r for g in groups for r in g.rows if r.charged and term.over in ("", r.role)]
    if term.where and mine and not any(term.where in r.facts for r in mine):
        raise DataError(
            f"term '{term.name}' charges tokens marked '{term.where}', and no row brings such marks",
            got=", ".join(sorted({name for r in mine for name in r.facts})) or "rows without marks",
            fix="use OnPolicy(prompts, marks=...) as the source",
        )
    for quantity, fact in _OF_ROLLOUTS.items():
        if quantity in term.takes and any(fact not in r.facts for r in mine):
            raise DataError(
                f"term '{term.name}' takes {fact}, which the rows do not bring",
                got="fixed data" if fact == "behaviour_log_probs" else "rollouts without a reward",
                fix="use OnPolicy(prompts, reward=...) as the source",
            )


def _check_labels(term: Term, settings: FitSettings, groups: Sequence[Group]) -> None:
    labels: list[Any] = [r.label for g in groups for r in g.rows]
    missing = sum(label is None for label in labels)
    if missing:
        raise DataError(f"term '{term.name}' needs a label on every example", got=f"{missing} of {len(labels)} have none", fix="set label")
    most = settings.outputs if settings.head == "class" else None
    wrong = next((label for label in labels if label < 0 or (most is not None and label >= most)), None)
    if wrong is not None:
        raise DataError("label is not one of the classes", got=f"{wrong} of {most} classes", fix="count labels from 0, or set classes")
