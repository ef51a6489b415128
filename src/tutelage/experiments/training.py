"""The training behind `lab.fit`: a fit with its checkpoints and its account, described for fit.json."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.records import ModelRef

if TYPE_CHECKING:
    from tutelage.experiments.charging import FitCharges

CHECKPOINT_EVERY = 10
"""Steps between checkpoints of a fit that has other models read or write, where its settings name none: what was paid is not lost."""
LOG_LINES = 60
"""Steps of a fit's log that the journal keeps, evenly spread; the last one always."""


def train(
    *,
    model: ModelRef,
    source: Any,
    objective: Any,
    targets: Any,
    settings: Any,
    seed: int,
    out: Path,
    progress: Any,
    watch: Any = None,
    charges: FitCharges | None = None,
) -> dict[str, Any]:
    """Do the training behind `lab.fit` and describe it for fit.json."""
    from tutelage.engine.digest import digest_of, inspect_folder
    from tutelage.train.loop import fit
    from tutelage.train.readings import Metered, asks_others

    if out.exists():  # weights whose fit.json was never written: a kill came between; the same weights are made again
        shutil.rmtree(out)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    if charges is not None and asks_others(source, targets, charges.who) and not settings.checkpoint_every:
        settings = replace(settings, checkpoint_every=CHECKPOINT_EVERY)
    result = fit(
        model=Path(str(model.path)),
        source=source if charges is None else Metered(source, targets, charges),
        objective=objective,
        targets=targets,
        settings=settings,
        seed=seed,
        out=out,
        progress=progress,
        checkpoint=checkpoint,
        watch=watch,
    )
    if checkpoint.exists():
        shutil.rmtree(checkpoint)
    folder = inspect_folder(out)
    every = max(1, len(result.log) // LOG_LINES)
    log = [row for i, row in enumerate(result.log) if i % every == 0 or i == len(result.log) - 1]
    return {
        "digest": digest_of(folder),
        "adapter_of": digest_of(folder.base) if folder.base is not None else None,
        "parent": model.id,
        "examples": len(getattr(source, "records", ())) or result.examples,
        "seen": result.examples,
        "tokens": result.tokens,
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "log": log,
        "before": dict(result.before),
        "after": dict(result.after),
        "dropped": dict(result.dropped),
        "notes": list(result.notes),
        "told": dict(result.told),
        "conditions": dict(result.conditions),
        "charged": {} if charges is None else charges.charged(),
    }
