"""Training: one loop, and the descriptions recipes hand to it. Importing this package loads no torch; `train.loop` does.

`lab.fit` calls `tutelage.train.loop.fit(model=..., source=..., objective=..., targets=..., settings=..., seed=..., out=...)`.
"""

from __future__ import annotations

from tutelage.train.rewards import Checked
from tutelage.train.settings import FORMAT_VERSION, FitSettings, Lora
from tutelage.train.sources import Domains, Edit, Fixed, Mixture, OnPolicy, Replay, Reward, Rollout, Selected, Source
from tutelage.train.targets import Asking, Instead, Itself, Joined, Reference, Sampled, Targets, Teacher, TopK
from tutelage.train.watch import Watch

__all__ = [
    "FORMAT_VERSION",
    "Asking",
    "Checked",
    "Domains",
    "Edit",
    "FitSettings",
    "Fixed",
    "Instead",
    "Itself",
    "Joined",
    "Lora",
    "Mixture",
    "OnPolicy",
    "Reference",
    "Replay",
    "Reward",
    "Rollout",
    "Sampled",
    "Selected",
    "Source",
    "Targets",
    "Teacher",
    "TopK",
    "Watch",
]
