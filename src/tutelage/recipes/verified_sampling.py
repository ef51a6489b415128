"""Verified sampling: several solutions per question, only the right ones are trained on.

Yuan, Yuan, Li, Dong, Lu, Tan, Zhou, Zhou 2023, "Scaling Relationship on Learning Mathematical Reasoning with Large Language Models",
arXiv 2308.01825 (rejection sampling fine-tuning), with the teacher as the sampler.

1. Take the task's training questions; where it has none, let the teacher draft questions from the seeds.
2. The teacher draws k rationales per question under the plain prompt.
3. Keep those that reach the right answer, different texts only, first one per question and then more, until there are as many as questions.
4. Fine-tune the student on them.

Arms: verified, the same number of unverified draws, wrong ones only (control), the student untouched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tutelage import steps
from tutelage.card import Arm, Card, Contrast, Experiment
from tutelage.lab import Lab, Role
from tutelage.train import FitSettings

CARD = Card(
    title="Verified sampling",
    claim="Of several solutions per question only those with the right answer are trained on.",
    source="Yuan et al. 2023, arXiv 2308.01825",
    family="baseline",
    kind="baseline",
    needs={"teacher": ("generate",), "student": ("generate", "train")},
    steps=("questions", "solutions", "examples"),
    size="examples",
    size_floor=2,
    arm="verified_sampling",
    baseline="unverified",
    control="wrong_only",
    deviations=("The teacher samples, where the paper's student samples for itself.",),
    version=2,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    examples: int = 250
    """Questions, and at most as many training examples, per skill; ours, as in ARTE."""
    tries: int = 4
    """k, rationales per question; ours (the paper goes up to 100)."""
    temperature: float = 0.7
    """Of the rationales (Sec. 4.1 of the paper)."""
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
    keep: Literal["right", "any", "wrong"] = "right"
    """What is trained on: `right`, `any` or `wrong`."""
    teach: bool = True
    """False leaves the student untouched."""


LAPTOP: dict[str, Any] = dict(
    examples=90, temperature=1.0, sft=FitSettings(lr=4e-3, batch=8, epochs=6, schedule="linear", warmup=0.03), question_tokens=160,
    rationale_tokens=48, shots=(0, 1),
)  # fmt: skip
"""As in ARTE's laptop preset."""

TOY: dict[str, Any] = LAPTOP | dict(examples=6, tries=4, sft=FitSettings(lr=4e-3, batch=8, epochs=1), shots=(0,))

ARMS: dict[str, Arm] = {
    "untouched": Arm(summary="the student as it is", changes={"teach": False}, needs={"student": ("generate",)}),
    "unverified": Arm(summary="taught by draws as they come", changes={"keep": "any"}),
    "verified_sampling": Arm(summary="taught by draws with the right answer"),
    "wrong_only": Arm(summary="control: taught by draws with a wrong answer", changes={"keep": "wrong"}, control=True),
}

REPRODUCE = Experiment(
    task="folds/*",
    task_options={"test_seed": 2},
    tune_options={"test_seed": 0},
    teacher="bundled:teacher",
    student="bundled:student",
    contrasts=(
        Contrast(
            claim="Right draws teach more than as many draws taken as they come.",
            better="verified_sampling",
            worse="unverified",
            control="wrong_only",
        ),
    ),
    also=("untouched",),
    shrunk="One teacher and one student of the bundled world; the paper samples from the student itself and up to 100 times per question.",
)


def run(lab: Lab, s: Settings) -> Role:
    teacher, student = lab.teacher if s.teach else None, lab.student

    if teacher is not None:
        questions = steps.training_questions(
            lab, teacher, "questions", wanted=s.examples, temperature=s.question_temperature, max_tokens=s.question_tokens
        )

        solutions = steps.sampled_solutions(
            lab, teacher, questions, keep=s.keep, tries=s.tries, temperature=s.temperature, max_tokens=s.rationale_tokens, name="solutions"
        )

        student = steps.teach(lab, student, solutions, settings=s.sft)

    lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens)
    return student
