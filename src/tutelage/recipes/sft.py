"""SFT: the teacher solves the questions at hand and the student is fine-tuned on its solutions (sequence-level distillation).

Kim, Rush 2016, "Sequence-Level Knowledge Distillation", arXiv 1606.07947, in today's form: rationales as completions.

1. Take the task's training questions; where it has none, let the teacher draft questions from the seeds.
2. The teacher writes one rationale per question under the plain prompt.
3. Fine-tune the student on them.

Arms: the rationales as they come, the bare answers (control for the worth of the rationale), the student untouched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tutelage import steps
from tutelage.card import Arm, Card, Contrast, Experiment
from tutelage.lab import Lab, Role
from tutelage.train import FitSettings

CARD = Card(
    title="Fine-tuning on the teacher's solutions",
    claim="The plain way to distil: the teacher solves questions, the student is fine-tuned on its solutions.",
    source="Kim and Rush 2016, arXiv 1606.07947",
    family="baseline",
    kind="baseline",
    needs={"teacher": ("generate",), "student": ("generate", "train")},
    steps=("questions", "solutions", "examples"),
    size="examples",
    size_floor=2,
    arm="sft",
    baseline="untouched",
    control="answers_only",
    deviations=("Greedy decoding instead of beam search.", "Rationales, where the paper distils translations."),
    version=2,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    examples: int = 250
    """Training examples per skill; ours, as in ARTE."""
    question_temperature: float = 1.0
    """Where questions are drafted; ours, as in ARTE."""
    sft: FitSettings = FitSettings(lr=2e-5, batch=64, epochs=1, schedule="linear", warmup=0.03)  # noqa: RUF009
    """Ours, as in ARTE, so that the recipes compare."""
    question_tokens: int = 1024
    """Longest reply to a question prompt; ours."""
    rationale_tokens: int = 512
    """Longest rationale; ours."""
    shots: tuple[int, ...] = (0, 3)
    """Numbers of demonstrations in evaluation; ours."""
    rationales: bool = True
    """False trains on the bare answers of the same solutions."""
    teach: bool = True
    """False leaves the student untouched."""


LAPTOP: dict[str, Any] = dict(
    examples=90,
    sft=FitSettings(lr=4e-3, batch=8, epochs=6, schedule="linear", warmup=0.03),
    question_tokens=160,
    rationale_tokens=48,
    shots=(0, 1),
)
"""As in ARTE's laptop preset."""

TOY: dict[str, Any] = LAPTOP | dict(examples=6, sft=FitSettings(lr=4e-3, batch=8, epochs=1), shots=(0,))

ARMS: dict[str, Arm] = {
    "untouched": Arm(summary="the student as it is", changes={"teach": False}, needs={"student": ("generate",)}),
    "sft": Arm(summary="taught by the teacher's solutions"),
    "answers_only": Arm(summary="control: taught by the bare answers of the same solutions", changes={"rationales": False}, control=True),
}

REPRODUCE = Experiment(
    task="folds/*",
    task_options={"test_seed": 2},
    tune_options={"test_seed": 0},
    teacher="bundled:teacher",
    student="bundled:student",
    contrasts=(
        Contrast(claim="Rationales teach more than the bare answers of the same solutions.", better="sft", worse="answers_only"),
        Contrast(claim="The teacher's solutions teach the student at all.", better="sft", worse="untouched"),
    ),
    shrunk="One teacher and one student of the bundled world, greedy solutions.",
)


def run(lab: Lab, s: Settings) -> Role:
    teacher, student = lab.teacher if s.teach else None, lab.student

    if teacher is not None:
        questions = steps.training_questions(
            lab, teacher, "questions", wanted=s.examples, temperature=s.question_temperature, max_tokens=s.question_tokens
        )

        solutions = steps.write_solutions(lab, teacher, questions, max_tokens=s.rationale_tokens, name="solutions")

        if not s.rationales:
            solutions = steps.bare_answers(lab, solutions)
        student = steps.teach(lab, student, solutions, settings=s.sft)

    lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens)
    return student
