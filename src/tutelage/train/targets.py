"""What a teacher or a frozen reference says about a window, as descriptions. Torch-free: models open when a fit starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tutelage.errors import CapabilityError
from tutelage.records import ModelRef

if TYPE_CHECKING:
    from tutelage.train.feeds import Site
    from tutelage.train.oracle import Oracle


@runtime_checkable
class Targets(Protocol):
    """A description of targets. `offers` names the quantities it makes available to terms."""

    @property
    def offers(self) -> frozenset[str]: ...

    def describe(self) -> dict[str, Any]: ...

    def open(self, site: Site) -> Oracle: ...


class Reference:
    """Log-probabilities under a frozen model: computed once before the first step where the rows are known, without dropout.

    `model` is a ModelRef, or anything with a `.ref`; None means the model in training as it was before the first step.
    """

    __slots__ = ("ref",)

    def __init__(self, model: Any = None) -> None:
        self.ref = as_ref(model)

    @property
    def offers(self) -> frozenset[str]:
        return frozenset(
            {
                "reference_log_probs",
                "reference_sequence_log_probs",
                "reference_chosen_log_probs",
                "reference_rejected_log_probs",
                "mismatched_log_ratios",
            }
        )

    def describe(self) -> dict[str, Any]:
        return {"targets": "reference", "model": self.ref.digest if self.ref else None}

    def open(self, site: Site) -> Oracle:
        from tutelage.train.oracle import ReferenceOracle

        return ReferenceOracle(self.ref, site)


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
