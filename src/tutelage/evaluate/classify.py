"""Score a classifier on problems whose answers are labels: same scorecards, no text in between."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.capabilities import Classifies
from tutelage.errors import DataError, did_you_mean
from tutelage.evaluate.fingerprint import fingerprint_of
from tutelage.evaluate.verdicts import scorecard
from tutelage.records import Problem, Scorecard
from tutelage.tasks.task import Task


def evaluate_classifier(
    model: Classifies,
    *,
    name: str,
    task: Task,
    problems: Sequence[Problem],
    labels: Sequence[str],
    model_id: str,
    seed: int = 0,
    arm: str = "",
) -> Scorecard:
    """Accuracy over `problems` of the likeliest label (of equals the first), as the task's verifier judges it. The classifier reads the
    bare question."""
    if not problems:
        raise DataError(f"task '{task.name}' has no problems to score a model on", got="0 test problems", fix="give it a test split")
    foreign = sorted({p.answer or "" for p in problems} - set(labels))
    if foreign and not set(labels) & {p.answer or "" for p in problems}:
        raise DataError(
            f"classifier knows none of the labels of task '{task.name}'",
            got=", ".join(labels[:5]),
            fix=f"train it with labels=task.labels; {did_you_mean(foreign[0], labels)}",
        )
    shares = model.classify([p.text for p in problems])
    said = [labels[max(range(len(row)), key=lambda i: row[i])] for row in shares]
    verdicts = [task.verify(p, task.answer_only(label)) for p, label in zip(problems, said, strict=True)]
    fingerprint = fingerprint_of(task, problems, asked=[p.text for p in problems], shots=0, decoding={"labels": list(labels)})
    return scorecard(
        verdicts, name=name, task=task, problems=problems, model_id=model_id, shots=0, fingerprint=fingerprint, seed=seed, arm=arm
    )
