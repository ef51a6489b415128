"""What the confidence is worth that comes with answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tutelage.errors import DataError
from tutelage.measure.calibration import auroc, brier, ece
from tutelage.records import Problem
from tutelage.tasks.task import Task

Tell = Callable[[Sequence[Problem]], Sequence[tuple[str, float | None]]]
"""Problems -> (text that the verifier reads, confidence in [0, 1] or None where there is none) of each, in order."""


def evaluate_confidence(tell: Tell, *, task: Task, problems: Sequence[Problem]) -> dict[str, float | None]:
    """Calibration error in ten bins (`ECE`), `Brier` score, `AUROC` (None where all answers are right or all wrong), the shares of
    answers that are right (`told right`), that come with a confidence (`stated`) and whose confidence is 0 or 1 (`at the ends`). A
    confidence that is missing counts as 0."""
    if not problems:
        raise DataError(f"task '{task.name}' has no problems to be sure about", got="0 test problems", fix="give it a test split")
    told = list(tell(problems))
    right = [float(task.verify(p, text).right) for p, (text, _) in zip(problems, told, strict=True)]
    sure = [confidence or 0.0 for _, confidence in told]
    n = len(problems)
    return {
        "ECE": ece(sure, right),
        "Brier": brier(sure, right),
        "AUROC": auroc(sure, right),
        "told right": sum(right) / n,
        "stated": sum(confidence is not None for _, confidence in told) / n,
        "at the ends": sum(p in (0.0, 1.0) for p in sure) / n,
    }
