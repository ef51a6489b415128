"""Training: one loop, and the descriptions recipes hand to it. Importing this package loads no torch; `train.loop` does.

`lab.fit` calls `tutelage.train.loop.fit(model=..., source=..., objective=..., targets=..., settings=..., seed=..., out=...)`.
"""

from __future__ import annotations

from tutelage.train.settings import FORMAT_VERSION, FitSettings, Lora
from tutelage.train.sources import Fixed, Source
from tutelage.train.targets import Reference, Targets

__all__ = ["FORMAT_VERSION", "FitSettings", "Fixed", "Lora", "Reference", "Source", "Targets"]
