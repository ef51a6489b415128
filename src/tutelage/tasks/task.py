"""What a task is to a recipe: data in disjoint splits, rendering facts, a verifier, and the numbers a reader needs to judge a score."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.prompts.technique import Technique
from tutelage.records import Problem, Verdict

__all__ = ["Task", "Technique", "Verify", "by_skill", "in_turn"]

Verify = Callable[[Problem, str], Verdict]
_CALCULATOR = re.compile(r"<<[^<>\n]*=[^<>\n]*>>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Facts about one task, nowhere else repeated. Changing anything that can change a score raises `version`."""

    name: str
    """As the user wrote it, for example `folds/shop` or `file:tickets.jsonl`."""
    version: str
    licence: str
    chance: float | None
    """Accuracy of guessing; None where it is unknown."""
    description: str
    """One or two sentences for prompts."""
    seed: tuple[Problem, ...]
    """Few labelled problems that question drafting may show and that training may use."""
    validation: tuple[Problem, ...]
    """Labelled problems for choosing: probes are drawn from them. Never reported on."""
    test: tuple[Problem, ...] = field(repr=False)
    """Only `evaluate` reads these; a recipe must not."""
    verify: Verify = field(repr=False)
    """(problem, text) -> Verdict. Never raises on model text."""
    train: tuple[Problem, ...] = ()
    """Labelled problems for recipes that train on given questions; empty where the task has none."""
    techniques: tuple[Technique, ...] = ()
    """Task-specific technique prompts; recipes fall back to general ones where this is empty."""
    answer_format: str = "the final answer between <ans> and </ans>"
    """Told to instruction followers, and what the verifier looks for first."""
    bare_answer: str = "<ans>{answer}</ans>"
    """The shortest text that states an answer; field: answer."""
    templated: bool = False
    """Questions repeat templates: decontamination means normalised equality, not n-grams."""
    solve: Callable[[Problem], str | None] | None = field(default=None, repr=False)
    """The world's own solver: the right answer of any well-formed question of this task, None for a malformed one."""
    invert: Callable[[Problem], Problem | None] | None = field(default=None, repr=False)
    """The world's own way of turning a question round: the inverse question with its answer, which the question states; None for one that
    cannot be turned round."""
    criticise: Callable[[Problem, str], list[tuple[str, bool]] | None] | None = field(default=None, repr=False)
    """The world's own critic of a solution: steps, as written or as they should be, each with whether the solution is right there. None for
    a text without steps."""
    style: Callable[[str], str] | None = field(default=None, repr=False)
    """Name of the way in which a rationale is written, where the world can tell; for the report's shares before and after alignment."""
    dialects: Mapping[str, str] = field(default_factory=dict)
    """Per dialect, the wording of this task's cue for models raised on it."""
    labels: tuple[str, ...] = ()
    """The closed list of answers of a classification task, sorted; empty elsewhere. Classifiers number their classes in this order."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows left out at load, by reason (malformed, duplicate across splits, named duplicates of published sets)."""
    malformed: tuple[str, ...] = field(default=(), repr=False)
    """The rows that could not be read, one line each: line number, what is wrong, what would fix it (the first thousand)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What it was opened with; part of the run's identity."""

    def answer_only(self, answer: str) -> str:
        """The shortest text whose answer the verifier reads: what a student taught without rationales writes."""
        return self.bare_answer.format(answer=answer)

    def worked(self, problem: Problem) -> str | None:
        """The worked solution that the task ships with a labelled problem, None where it ships none. Calculator notes (`<<3*4=12>>`) are
        taken out, and a solution that does not say its answer as the verifier reads it gets that as its last line."""
        from tutelage.verify.extract import final_answer  # here, since its patterns cost a short verb its time

        shipped = str(problem.context.get("rationale") or problem.context.get("solution") or "")
        if not shipped or problem.answer is None:
            return None
        text = _CALCULATOR.sub("", shipped)
        said = final_answer(text)
        if said is not None and said.rule != "bare" and (said.value == problem.answer or self.verify(problem, text).right):
            return text
        return f"{text}\n{self.answer_only(problem.answer)}"

    @property
    def skills(self) -> tuple[str, ...]:
        """The sub-tasks, in order of first appearance in the seed split."""
        return tuple(dict.fromkeys(p.skill for p in self.seed))


def by_skill(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    """Problems grouped by skill, order kept."""
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(problem.skill, []).append(problem)
    return groups


def in_turn(problems: Sequence[Problem], limit: int | None) -> tuple[Problem, ...]:
    """At most `limit` problems, skills in turn, so that a small limit still tests every skill; all of them in their order without one."""
    if limit is None or limit >= len(problems):
        return tuple(problems)
    groups = list(by_skill(problems).values())
    rows = [g[rank] for rank in range(max(map(len, groups), default=0)) for g in groups if rank < len(g)]
    return tuple(rows[:limit])
