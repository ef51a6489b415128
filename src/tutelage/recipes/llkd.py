"""LLKD: a classifier learns from texts that its teacher labels surely and that it is itself still unsure of.

Li, Nag, Liu, Tang, Sarwar, Cui, Gu, Wang, He, Tang 2025, "Learning with Less: Knowledge Distillation from Large Language Models via
Unlabeled Data", Findings of NAACL, arXiv 2411.08028.

 1. The teacher, shown a few labelled texts, scores every label name behind each unlabelled text x_i: q_i = softmax over the labels,
    y_i = argmax q_i, confidence c_i = q_i(y_i). It is never asked again.
 2. For each mini-batch the student, as it is at that step, gives p_i; its uncertainty u_i is the entropy of p_i over log C.
 3. Two thresholds per class y, the teacher's over c and the student's over u: a moving mean over all rows times the class's moving mean
    over the highest of them, tau_t(y) = tau_t rho_t(y) / max rho_t.
 4. m_i = [c_i >= tau^T_t(y_i)] [u_i >= tau^S_t(y_i)].
 5. The student is trained on the rows with m_i = 1, each weighed by c_i + u_i (mean 1), cross-entropy against y_i.
 6. Again with the next mini-batch. A mini-batch of which nothing is selected is no step.

Beyond the paper: the arm `random` draws, step by step, exactly as many rows as `llkd` selected (it trains that student first, once for both
arms). With `teacher_rows` the teacher is a classifier that the run itself trains on so many labelled texts, set apart from the unlabelled
ones, or whose vectors are compared with theirs: what stands for a language model where there is none. The bundled teacher is asked
in its terse style, without examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tutelage import steps
from tutelage.card import Arm, Card, Claim, Contrast, Experiment
from tutelage.errors import CapabilityError
from tutelage.lab import Lab, Role
from tutelage.objectives import classification
from tutelage.prompts.labelling import can_label, render_label
from tutelage.records import Example, Feedback, Origin, Problem
from tutelage.signals.classes import class_confidence, label_confidence, likeliest, nearness_confidence
from tutelage.tasks.labels import label_examples, labels_of
from tutelage.train import FitSettings, Fixed, Gated, Gates, Portions, Watch

CARD = Card(
    title="LLKD: sure teacher, unsure student",
    claim="Training on texts of which the teacher is sure and the student is not teaches more than training on as many at random.",
    source="Li et al. 2025, arXiv 2411.08028",
    family="data selection",
    kind="system",
    needs={"teacher": (), "student": ("train",)},
    steps=("questions", "confidence", "labelled", "examples", "used"),
    size="texts",
    size_floor=12,
    arm="llkd",
    baseline="random",
    control="shuffled",
    claims=(
        Claim(what="PubMed-RCT-20k, LLKD against the best baseline, F1", published="+5.82 % (relative), on 3.7 % of the training samples",
              where="abstract", arms=("llkd", "all")),
        Claim(what="Five sets of texts, share of the samples that LLKD trains on", published="under 25 % on most", where="Sec. 5"),
    ),
    deviations=(
        "Label names are scored per token and normalised over the labels; raw sequence probabilities punish names of several tokens.",
        "Decay, starts and weights of the thresholds are not reported: moving means as in FreeMatch, starts at 1/C and 0, weights c + u.",
        "A class that was not seen yet has the level of all rows as its bar; at 0 all its noise would come through.",
        "The student's threshold waits for a warm-up, since every student is unsure of everything at first.",
        "Used rows are those that gradients came from, not those that were looked at; all texts are labelled before any is selected.",
    ),
    demo_arms=("all", "random", "confidence_only", "uncertainty_only", "llkd", "shuffled"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    texts: int = 20000
    """N, unlabelled texts per skill; the paper's sets have about this many (Sec. 5)."""
    demonstrations: int = 10
    """Labelled texts in the teacher's prompt (few-shot in the paper, the number is not reported; ours)."""
    teacher_rows: int = 0
    """Labelled texts from which a classifier is made to stand for the teacher; 0 asks the teacher as it is (the paper)."""
    teacher_by: Literal["training", "nearness"] = "training"
    """How: trained under a class head, or by the nearness of the teacher's vectors to their means by label."""
    teacher_fit: FitSettings = FitSettings(lr=2e-5, batch=32, epochs=5, schedule="linear", warmup=0.1)  # noqa: RUF009
    """How that classifier is trained; ours."""
    fit: FitSettings = FitSettings(lr=2e-5, batch=32, epochs=10, schedule="linear", warmup=0.1)  # noqa: RUF009
    """The student's; `batch` is B, the texts looked at for a step. Not reported; ours."""
    decay: float = 0.9
    """lambda of the moving means; not reported, ours (0.999 for more than 5,000 steps)."""
    warmup: float = 0.1
    """Share of the steps before the student's threshold counts; ours."""
    watched: int = 200
    """Validation texts on which training is stopped early (not reported; ours); 0 trains to the end."""
    patience: int = 5
    """Measurements without a lower loss before it stops; ours."""
    shots: tuple[int, ...] = (0,)
    """A classifier is shown nothing."""
    rationale_tokens: int = 1
    """A classifier writes nothing."""
    by: Literal["both", "teacher", "student", "none", "random", "own"] = "both"
    """What selects: both signals, one of them, nothing (all texts), chance, or the student's own confidence in place of the teacher's."""
    top: float | None = None
    """Instead of thresholds: the texts among this share of the mini-batch by each signal."""
    by_class: bool = True
    """False: one pair of thresholds for all classes."""
    weighted: bool = True
    """False: selected texts weigh alike."""
    shuffle: bool = False
    """The control: both signals are dealt out among the texts by chance."""


LAPTOP: dict[str, Any] = dict(
    texts=300, demonstrations=0, fit=FitSettings(lr=2e-3, batch=32, epochs=20, steps=120, schedule="linear", warmup=0.05), watched=0
)
"""For the bundled pair."""

TOY: dict[str, Any] = LAPTOP | dict(texts=16, fit=FitSettings(lr=2e-3, batch=8, steps=3, epochs=9))

ARMS: dict[str, Arm] = {
    "all": Arm(summary="trained on all labelled texts of every mini-batch", changes={"by": "none"}),
    "random": Arm(summary="as many texts at every step as LLKD selected, drawn by chance", changes={"by": "random"}),
    "confidence_only": Arm(summary="texts of which the teacher is sure", changes={"by": "teacher"}),
    "uncertainty_only": Arm(summary="texts of which the student is unsure", changes={"by": "student"}),
    "llkd": Arm(summary="texts of which the teacher is sure and the student is not"),
    "top_half": Arm(summary="a fixed share by each signal instead of thresholds", changes={"top": 0.5}),
    "no_classes": Arm(summary="one pair of thresholds for all classes", changes={"by_class": False}),
    "unweighted": Arm(summary="selected texts weigh alike", changes={"weighted": False}),
    "own_confidence": Arm(summary="texts of which the student itself is sure", changes={"by": "own"}),
    "shuffled": Arm(summary="control: both signals dealt out among the texts by chance", changes={"shuffle": True}, control=True),
}

_CONTRASTS = (
    Contrast(
        claim="Texts of which the teacher is sure and the student is not teach more than as many at random.",
        better="llkd", worse="random", control="shuffled",
        published="best of all methods on five sets; PubMed-RCT-20k +5.82 % F1 (relative) over the best baseline",
    ),
    Contrast(
        claim="They teach no less, by more than half a point, than all texts at as many steps.",
        better="llkd", worse="all", margin=-0.005, published="PubMed-RCT-20k with 3.7 % of the training samples",
    ),
    Contrast(claim="The teacher's confidence is needed beside the student's uncertainty.", better="llkd", worse="uncertainty_only"),
)  # fmt: skip

_COUNTED = (
    Contrast(
        claim="Of the labels that are trained on, more are right than of those drawn at random.",
        better="llkd", worse="random", metric="note:labels_right_used", rule=False,
    ),
    Contrast(
        claim="As many rows are trained on as in the arm that draws at random.",
        better="llkd", worse="random", metric="note:rows_used", rule=False,
    ),
)  # fmt: skip

REPRODUCE = {
    "chains": Experiment(
        task="chains/12",
        task_options={"test_seed": 1},
        tune_options={"test_seed": 0},
        teacher="bundled:teacher",
        student="bundled:student",
        settings={
            "texts": 3000, "teacher_rows": 600, "teacher_fit.lr": 2e-3, "teacher_fit.epochs": 20, "fit.lr": 2e-3, "fit.batch": 64,
            "fit.steps": 150, "fit.epochs": 20, "warmup": 0.1,
        },
        contrasts=_CONTRASTS,
        shrunk="3,000 unlabelled texts instead of 20,000 and the bundled architectures (4 layers of 96, 3 of 64) for 128 and 64 wide ones; "
        "the teacher is a classifier trained on 600 right labels, as in the card's check.",
        full="tutelage run llkd --task chains/12 --task-set train_size=21000 --teacher bundled:teacher --student bundled:student --arm all "
        "--set texts=20000 --set teacher_rows=600 --seeds 5",
    ),
    "clinc150": Experiment(
        task="clinc150",
        task_options={"oos": "no", "test_size": 1500},
        tune_options={"tested": "validation"},
        teacher="encoder:minilm",
        student="encoder:minilm-l2",
        settings={
            "texts": 2400, "teacher_rows": 450, "teacher_by": "nearness", "fit.lr": 2e-3, "fit.batch": 64, "fit.steps": 80,
            "fit.epochs": 20, "warmup": 0.1,
        },
        contrasts=(*_CONTRASTS[:2], *_COUNTED),
        shrunk="The teacher is no language model: it names the intent whose known requests are nearest by the sentence vectors of the "
        "whole encoder, out of 450 requests with right labels (three an intent on average) that the student never sees. The student is the "
        "encoder's first two layers under an averaging one, trained for 80 steps; 2,400 unlabelled requests, 1,500 of the 4,500 test "
        "requests.",
        full="tutelage run llkd --task clinc150 --teacher 'openai:MODEL@URL?score=ids' --student hf:FacebookAI/roberta-base --preset paper "
        "--arm all --seeds 5",
    ),
}  # fmt: skip


def run(lab: Lab, s: Settings) -> Role:
    labels = labels_of(lab.task)
    questions = steps.training_questions(lab, lab.teacher, "questions", wanted=s.texts + s.teacher_rows, temperature=1.0, max_tokens=512)
    lab.rng("apart").shuffle(questions)

    teacher, pool = lab.teacher, questions[s.teacher_rows :]
    known = [p for p in questions[: s.teacher_rows] if p.answer in labels]
    if known and s.teacher_by == "training":
        rows = label_examples(known, labels)
        teacher = lab.fit("teacher", teacher, Fixed(rows), classification(), settings=_headed(s.teacher_fit, labels))
    sure = _confidence(lab, s, teacher, pool, known, labels)
    lab.keep("confidence", [replace(c, parts=()) for c in sure])
    labelled = lab.keep("labelled", [_labelled(p, likeliest(c, labels), teacher) for p, c in zip(pool, sure, strict=True)])
    _note_labels(lab, pool, labelled, sure)
    examples = lab.keep("examples", label_examples(labelled, labels))

    confidence = [c.value or 0.0 for c in sure]
    if s.shuffle:
        lab.rng("dealt").shuffle(confidence)
    student = gated = _selected(lab, s, examples, confidence, labels)
    if s.by == "random":
        portions = Portions(examples, lab.told(gated).get("sizes") or [s.fit.batch])
        student = lab.fit("student", lab.student, portions, classification(), settings=_headed(s.fit, labels), step="portions")
    _note_used(lab, student, gated, pool, labelled, examples)

    lab.evaluate("student", student, shots=s.shots, max_tokens=s.rationale_tokens)
    return student


def _confidence(
    lab: Lab, s: Settings, teacher: Role, pool: Sequence[Problem], known: Sequence[Problem], labels: Sequence[str]
) -> list[Feedback]:
    """Of a classifier its probabilities; of any other model those of the label names, or by nearness to known texts."""
    if known and s.teacher_by == "nearness":
        return nearness_confidence(teacher, pool, known=known, labels=labels, model_id=teacher.id)
    if "classify" in teacher.facts.capabilities:
        return class_confidence(teacher, pool, model_id=teacher.id)
    dialect = teacher.wording.dialect
    if "score" not in teacher.facts.capabilities or not can_label(dialect):
        raise CapabilityError(
            "the teacher can neither classify nor score label names",
            got=f"{teacher.ref.name}, which can {', '.join(sorted(teacher.facts.capabilities))} and is asked in '{dialect.name}'",
            fix="train a classifier to stand for it (--set teacher_rows=N), or name an endpoint with ?score=ids",
        )
    shown = [(p.text, p.answer) for p in lab.task.seed if p.answer is not None]
    shown = lab.rng("demonstrations").sample(shown, k=min(s.demonstrations, len(shown)))
    return label_confidence(
        teacher, pool, labels=labels, answer=dialect.label_answer, model_id=teacher.id,
        render=lambda p: render_label(
            dialect, description=lab.task.description, labels=labels, question=p.text, demonstrations=shown
        ),
    )  # fmt: skip


def _selected(lab: Lab, s: Settings, examples: Sequence[Example], confidence: Sequence[float], labels: Sequence[str]) -> Role:
    """The student trained on what the gates let through (steps 2 to 6)."""
    gates = Gates(
        teacher=s.by in ("both", "teacher", "random", "own"), student=s.by in ("both", "student", "random", "own"), own=s.by == "own",
        decay=s.decay, by_class=s.by_class, top=s.top, weighted=s.weighted, warmup=s.warmup, dealt=s.shuffle,
    )  # fmt: skip
    watched = [p for p in lab.task.validation if p.answer in labels][: s.watched]
    watch = Watch.on(label_examples(watched, labels), every=25, patience=s.patience) if watched else None
    return lab.fit(
        "student",
        lab.student,
        Gated(examples, confidence, gates),
        classification(),
        settings=_headed(s.fit, labels),
        watch=watch,
        step="gated",
    )


def _headed(settings: FitSettings, labels: Sequence[str]) -> FitSettings:
    return replace(settings, head="class", labels=tuple(labels))


def _labelled(problem: Problem, label: str, teacher: Role) -> Problem:
    return replace(problem, answer=label, origin=Origin(step="labelled", parents=(problem.id,), model=teacher.id))


def _note_labels(lab: Lab, pool: Sequence[Problem], labelled: Sequence[Problem], sure: Sequence[Feedback]) -> None:
    """How many of the teacher's labels are right, by third of its confidence, where the task knows (nothing is chosen by it)."""
    rows = sorted((c.value or 0.0, p.answer == q.answer) for p, q, c in zip(pool, labelled, sure, strict=True) if p.answer is not None)
    thirds = [rows[i * len(rows) // 3 : (i + 1) * len(rows) // 3] for i in range(3)]
    lab.note("labels_right", sum(right for _, right in rows) / len(rows) if rows else None)
    lab.note("labels_right_by_confidence", [sum(right for _, right in mine) / len(mine) if mine else None for mine in thirds])


def _note_used(
    lab: Lab, student: Role, gated: Role, pool: Sequence[Problem], labelled: Sequence[Problem], examples: Sequence[Example]
) -> None:
    """What the gradients came from, and how many of its labels were right."""
    uses: dict[str, int] = lab.told(student).get("uses", {})
    told = lab.told(gated)
    seen, passed_over = sum(uses.values()), told.get("unsure_teacher", 0) + told.get("sure_student", 0)
    used = [
        Feedback(
            item=e.id, signal="uses", value=uses.get(e.id, 0), n=uses.get(e.id, 0), model=student.id,
            origin=Origin(step="used", parents=(e.id,), model=student.id),
        )
        for e in examples
    ]  # fmt: skip
    lab.keep("used", used)
    right = sum(x.n for p, q, x in zip(pool, labelled, used, strict=True) if p.answer == q.answer)
    lab.note("rows_used", seen)
    lab.note("visit_fraction", seen / (seen + passed_over) if seen else None)
    lab.note("unique_fraction", len(uses) / len(examples) if examples else None)
    lab.note("labels_right_used", right / seen if seen else None)
