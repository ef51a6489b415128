"""Asking for a solution: plainly, with a technique, or after demonstrations. The answer inside is read by the task's verifier."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.prompts.dialects import ENGLISH, Dialect
from tutelage.records import Prompt


def render_plain(dialect: Dialect, *, description: str, answer_format: str, question: str) -> Prompt:
    """The prompt that students are trained and tested under, and that the teacher sees once its technique prompts are erased."""
    text = dialect.plain.format(description=description, answer_format=answer_format, question=question)
    return Prompt.user(text, kind="solve.plain")


def render_technique(dialect: Dialect, *, description: str, answer_format: str, question: str, technique: str, instruction: str) -> Prompt:
    """Ask for a solution in one way (ARTE Sec. 3.1: one hand-written reasoning-technique prompt per draft rationale)."""
    text = dialect.technique.format(
        description=description, answer_format=answer_format, question=question, technique=technique, instruction=instruction
    )
    return Prompt.user(text, kind="solve.technique")


def render_shots(
    dialect: Dialect, *, description: str, answer_format: str, demonstrations: Sequence[tuple[str, str]], question: str
) -> Prompt:
    """Ask for a solution after worked examples, given as (question, rationale).

    Everything that does not depend on the question stands first, so that prompts with the same demonstrations share a prefix.
    With no demonstrations this is the plain prompt: a zero-shot score must not depend on the wording of the few-shot one.
    """
    if not demonstrations:
        return render_plain(dialect, description=description, answer_format=answer_format, question=question)
    shown = "\n\n".join(dialect.demonstration.format(question=q, rationale=r.strip()) for q, r in demonstrations)
    text = dialect.shots.format(description=description, answer_format=answer_format, demonstrations=shown, question=question)
    return Prompt.user(text, kind="solve.shots")


def example(dialect: Dialect = ENGLISH, serial: int | None = None) -> str:
    """A reply that every verifier of a free-form task can parse; planning answers with it."""
    if dialect.name == "folds":
        return f"Mon {4 if serial is None else serial} 7 ; Tue 2 9 => 9"
    mark = "" if serial is None else f" ({serial})"
    return f"First 3 and 4 make 7, then 2 more make 9. <ans>9</ans>{mark}"
