"""Problems of a classification task as what a class head is trained on: the bare question and the number of its label."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.errors import DataError
from tutelage.records import Example, Origin, Problem, Prompt
from tutelage.tasks.task import Task

MOST = 1000
"""Classes of a class head; more different answers than this are no closed list."""


def label_examples(problems: Sequence[Problem], labels: Sequence[str], *, weights: Sequence[float] | None = None) -> list[Example]:
    """One example per problem, its answer as the class. For labels that a teacher gave, put them into the problems' answers first
    (`replace(problem, answer=label)`); an answer that is no label is refused, since a class head cannot learn it."""
    places = {label: i for i, label in enumerate(labels)}
    foreign = sorted({str(p.answer) for p in problems if p.answer not in places})
    if foreign:
        raise DataError("answers are not among the labels", got=", ".join(foreign[:5]), fix="leave these rows out, or map their answers")
    return [
        Example(
            prompt=Prompt.user(p.text),
            completion="",
            label=places[p.answer or ""],
            weight=w,
            origin=Origin(step="label_examples", parents=(p.id,)),
        )
        for p, w in zip(problems, [1.0] * len(problems) if weights is None else weights, strict=True)
    ]


def labels_of(task: Task) -> tuple[str, ...]:
    """The closed list of a classification task; elsewhere the different answers of its labelled problems, which a class head takes for the
    classes there are. Sorted. A task with more than `MOST` of them, or fewer than two, is none that a class head can learn; nor is one
    whose answers cannot be guessed (no `chance`), however many of its rows share one."""
    found = task.labels or tuple(sorted({p.answer for p in (*task.seed, *task.train, *task.validation) if p.answer is not None}))
    if not 2 <= len(found) <= MOST or not (task.labels or task.chance):
        raise DataError(
            f"task '{task.name}' has no closed list of answers to choose from",
            got=f"{len(found)} different answers" + ("" if task.labels or task.chance else ", and any other could be right"),
            fix="use a classification task",
        )
    return found
