"""Training: one loop, and the descriptions recipes hand to it. Importing this package loads no torch; `train.loop` does.

`lab.fit` calls `tutelage.train.loop.fit(model=..., source=..., objective=..., targets=..., settings=..., seed=..., out=...)`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.train.compared import Compared
    from tutelage.train.gated import Gated, Gates, Portions
    from tutelage.train.revision import IN_SPAN, STATED, InSpans, Onward, Revised
    from tutelage.train.rewards import IMITATED, Checked, Near, Rated, Staked, where_none_is_right, where_wrong
    from tutelage.train.settings import FORMAT_VERSION, FitSettings, Lora
    from tutelage.train.sources import (
        Domains,
        Edit,
        Facts,
        Fixed,
        Live,
        Marks,
        Mixture,
        OnPolicy,
        Replay,
        Reward,
        Rollout,
        Selected,
        Source,
    )
    from tutelage.train.splicing import FOREIGN, Foreign, Guidance, Spliced
    from tutelage.train.targets import Asking, Instead, Itself, Joined, Reference, Sampled, Targets, Teacher, TopK
    from tutelage.train.urging import Urged
    from tutelage.train.watch import Watch

__all__ = [
    "FOREIGN",
    "FORMAT_VERSION",
    "IMITATED",
    "IN_SPAN",
    "STATED",
    "Asking",
    "Checked",
    "Compared",
    "Domains",
    "Edit",
    "Facts",
    "FitSettings",
    "Fixed",
    "Foreign",
    "Gated",
    "Gates",
    "Guidance",
    "InSpans",
    "Instead",
    "Itself",
    "Joined",
    "Live",
    "Lora",
    "Marks",
    "Mixture",
    "Near",
    "OnPolicy",
    "Onward",
    "Portions",
    "Rated",
    "Reference",
    "Replay",
    "Revised",
    "Reward",
    "Rollout",
    "Sampled",
    "Selected",
    "Source",
    "Spliced",
    "Staked",
    "Targets",
    "Teacher",
    "TopK",
    "Urged",
    "Watch",
    "where_none_is_right",
    "where_wrong",
]

_ROOMS = ("settings", "sources", "targets", "rewards", "watch", "compared", "gated", "revision", "splicing", "urging")
"""Where the names stand, the commonest first: a recipe imports what it names and not the whole menu, so that showing one is quick."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for room in _ROOMS:
            module = import_module(f"{__name__}.{room}")
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
