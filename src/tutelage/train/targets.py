"""What a teacher or a frozen reference says about a window, as descriptions. Torch-free: models open when a fit starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tutelage.errors import CapabilityError, DataError, SettingsError
from tutelage.hashing import content_id
from tutelage.records import ModelRef, Prompt
from tutelage.train.readings import Scorer, scorers_of
from tutelage.train.sources import identity_of

if TYPE_CHECKING:
    from tutelage.train.feeds import Site
    from tutelage.train.oracle import Oracle

_REFERENCE = (
    "reference_log_probs",
    "reference_sequence_log_probs",
    "reference_chosen_log_probs",
    "reference_rejected_log_probs",
    "mismatched_log_ratios",
)


@runtime_checkable
class Targets(Protocol):
    """A description of targets. `offers` names the quantities it makes available to terms. Targets that ask further models name them
    in `scorers` (`readings.Scorer`), by which a plan counts what they will read."""

    @property
    def offers(self) -> frozenset[str]: ...

    def describe(self) -> dict[str, Any]: ...

    def open(self, site: Site) -> Oracle: ...


class Instead:
    """Other prompts for a teacher than the student's: one that names a technique, shows demonstrations or holds the answer.

    Called with the student's prompt it gives the teacher's. A prompt without a partner is an error, not a silent fallback.
    """

    __slots__ = ("_partners",)

    def __init__(self, pairs: Iterable[tuple[Prompt, Prompt]]) -> None:
        """(what the student is asked, what the teacher is asked instead)."""
        self._partners = {mine.id: theirs for mine, theirs in pairs}

    def __call__(self, prompt: Prompt) -> Prompt:
        found = self._partners.get(prompt.id)
        if found is None:
            raise DataError("teacher was given no prompt to be asked instead", got=prompt.text[:80], fix="name a partner for every prompt")
        return found

    def describe(self) -> dict[str, Any]:
        return {"instead": content_id(sorted([mine, theirs.id] for mine, theirs in self._partners.items()))}


Asking = Callable[[Prompt], Prompt]
"""What a teacher is asked where the student was asked this; `Instead`, a function at module level, or anything with `describe()`."""


class Reference:
    """Log-probabilities under a frozen model: computed once before the first step where the rows are known, without dropout.

    `model` is a ModelRef, or anything with a `.ref`; None means the model in training as it was before the first step.
    """

    __slots__ = ("ref", "role")
    offers = frozenset(_REFERENCE)

    def __init__(self, model: Any = None) -> None:
        self.ref, self.role = as_ref(model), _role(model)

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """None where the student is its own reference."""
        return () if self.ref is None else (Scorer(ref=self.ref, role=self.role, offers=self.offers, kept=True, reference=True),)

    def describe(self) -> dict[str, Any]:
        return {"targets": "reference", "model": self.ref.digest if self.ref else None}

    def open(self, site: Site) -> Oracle:
        from tutelage.train.oracle import ReferenceOracle

        return ReferenceOracle(self.ref, site, role=self.role)


class Teacher:
    """The teacher's whole distribution at every charged token, computed in the same step; also its hidden states and log-probabilities.
    Neither model's full logits ever exist: both are projected tile by tile.

    With `asked` the teacher reads the same completion under another prompt than the student. With `over` it reads the rows of that role
    alone; terms that take from it must charge no others.
    """

    __slots__ = ("asked", "over", "ref", "role")
    offers = frozenset({"teacher_logits", "teacher_neighbour_logits", "teacher_hidden", "teacher_log_probs"})

    def __init__(self, model: Any, *, asked: Asking | None = None, over: str = "") -> None:
        self.ref, self.role, self.asked, self.over = _needed(model), _role(model), asked, over

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        return (Scorer(ref=self.ref, role=self.role, offers=self.offers, over=self.over),)

    def describe(self) -> dict[str, Any]:
        body = {"targets": "teacher", "model": self.ref.digest, **_otherwise(self.asked)}
        return body | ({"over": self.over} if self.over else {})  # so that fits without it keep their keys

    def open(self, site: Site) -> Oracle:
        from tutelage.train.oracle import TeacherOracle

        return TeacherOracle(self.ref, site, asked=self.asked, role=self.role, over=self.over)


class Itself:
    """The student as it is at that step, reading its text under another prompt: what it knows when it is shown more. No gradient flows
    through this reading."""

    __slots__ = ("asked",)
    offers = Teacher.offers

    def __init__(self, *, asked: Asking) -> None:
        self.asked = asked

    def describe(self) -> dict[str, Any]:
        return {"targets": "itself", **_otherwise(self.asked)}

    def open(self, site: Site) -> Oracle:
        from tutelage.train.oracle import TeacherOracle

        return TeacherOracle(None, site, asked=self.asked)


class TopK:
    """The teacher's k likeliest ids and their log-probabilities; kept per row where the rows are known before the first step."""

    __slots__ = ("asked", "k", "ref", "role")
    offers = frozenset({"teacher_top_ids", "teacher_top_log_probs"})

    def __init__(self, model: Any, k: int, *, asked: Asking | None = None) -> None:
        if k < 1:
            raise SettingsError("top-k targets need k of at least 1", got=k)
        self.ref, self.role, self.k, self.asked = _needed(model), _role(model), k, asked

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        return (Scorer(ref=self.ref, role=self.role, offers=self.offers, kept=True),)

    def describe(self) -> dict[str, Any]:
        return {"targets": "top-k", "model": self.ref.digest, "k": self.k, **_otherwise(self.asked)}

    def open(self, site: Site) -> Oracle:
        from tutelage.train.oracle import TopKOracle

        return TopKOracle(self.ref, self.k, site, asked=self.asked, role=self.role)


class Sampled:
    """The teacher's log-probability of the token that is there, and nothing else: what single-sample estimators need."""

    __slots__ = ("asked", "ref", "role")
    offers = frozenset({"teacher_log_probs"})

    def __init__(self, model: Any, *, asked: Asking | None = None) -> None:
        self.ref, self.role, self.asked = _needed(model), _role(model), asked

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        return (Scorer(ref=self.ref, role=self.role, offers=self.offers, kept=True),)

    def describe(self) -> dict[str, Any]:
        return {"targets": "sampled", "model": self.ref.digest, **_otherwise(self.asked)}

    def open(self, site: Site) -> Oracle:
        from tutelage.train.oracle import SampledOracle

        return SampledOracle(self.ref, site, asked=self.asked, role=self.role)


class Joined:
    """Several targets at once, for objectives with terms of both kinds (a teacher and a reference)."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Targets) -> None:
        self.parts = parts
        twice = [name for i, p in enumerate(parts) for name in p.offers & frozenset().union(*(q.offers for q in parts[:i]))]
        if twice:
            raise SettingsError("two targets offer the same quantity", got=", ".join(sorted(twice)), fix="leave one of them out")

    @property
    def offers(self) -> frozenset[str]:
        return frozenset().union(*(p.offers for p in self.parts))

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        return tuple(scorer for p in self.parts for scorer in scorers_of(p))

    def describe(self) -> dict[str, Any]:
        return {"targets": "joined", "parts": [p.describe() for p in self.parts]}

    def open(self, site: Site) -> Oracle:
        from tutelage.train.oracle import JoinedOracle

        return JoinedOracle([(p.offers, p.open(site)) for p in self.parts])


def as_ref(model: Any) -> ModelRef | None:
    """The ModelRef behind a role handle, or the ref itself. Its weights must be local."""
    ref = getattr(model, "ref", model)
    if ref is None:
        return None
    if not isinstance(ref, ModelRef):
        raise CapabilityError("targets need a model", got=type(model).__name__, fix="pass a ModelRef or a role of the lab")
    if ref.path is None:
        raise CapabilityError("targets need a model whose weights are local", got=ref.name, fix="use hf:DIR or a fitted model")
    return ref


def _role(model: Any) -> str:
    """Of the handle; a bare ModelRef has none."""
    return "" if model is None or isinstance(model, ModelRef) else str(getattr(model, "name", ""))


def _otherwise(asked: Asking | None) -> dict[str, Any]:
    return {"asked": identity_of(asked)} if asked is not None else {}


def _needed(model: Any) -> ModelRef:
    ref = as_ref(model)
    if ref is None:
        raise CapabilityError("targets need a model", got=None, fix="pass a ModelRef or a role of the lab")
    return ref
