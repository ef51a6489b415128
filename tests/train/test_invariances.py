"""Every objective inside the loop: one gradient however the window is split, laid out or tiled, and nothing charged between equals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checkpoints import tiny_checkpoint
from tutelage import objectives as menu
from tutelage.objectives import Objective
from tutelage.records import Example, Pair
from tutelage.train import Joined, Reference, Sampled, Targets, Teacher, TopK
from windows import Opened, examples, gradient, off, pairs, ref

SPLITS = (1, 2, 4, 8)
WAYS: tuple[dict[str, Any], ...] = (
    *({"size": n} for n in SPLITS),
    {"layout": "right"},
    {"layout": "left"},
    {"tile_bytes": 4096},
    {"share": True},
    {"share": True, "layout": "left"},
)
ON_EXAMPLES: dict[str, tuple[Objective, str]] = {
    "cross_entropy": (menu.cross_entropy(), ""),
    "cross_entropy per sequence": (menu.cross_entropy(per="sequence"), ""),
    "forward_kl": (menu.forward_kl(temperature=2.0), "teacher"),
    "reverse_kl": (menu.reverse_kl(), "teacher"),
    "jensen_shannon": (menu.jensen_shannon(beta=0.3), "teacher"),
    "skewed_kl": (menu.skewed_kl(), "teacher"),
    "skewed_reverse_kl": (menu.skewed_reverse_kl(), "teacher"),
    "total_variation": (menu.total_variation(), "teacher"),
    "sparse reverse_kl": (menu.sparse(menu.reverse_kl()), "top k"),
    "sparse forward_kl": (menu.sparse(menu.forward_kl()), "top k"),
    "sampled k3": (menu.sampled_kl(estimator="k3"), "sampled"),
    "sampled policy": (menu.sampled_kl(against="reference"), "reference"),
    "hidden cosine": (menu.match_hidden_cosine(), "teacher"),
    "hidden mse": (menu.match_hidden_mse(), "teacher"),
    "cross_entropy + reverse_kl + k3": (
        menu.cross_entropy() + 0.5 * menu.reverse_kl() + 0.1 * menu.sampled_kl(estimator="k3", against="reference"),
        "both",
    ),
    "classification": (menu.classification(), "class"),
}
ON_PAIRS: dict[str, tuple[Objective, str]] = {
    "dpo": (menu.dpo(), "reference"),
    "dpo + nll, conservative": (menu.dpo(nll=0.2, smoothing=0.1), "reference"),
    "ipo": (menu.ipo(), "reference"),
    "ipo per token": (menu.ipo(per_token=True), "reference"),
    "simpo": (menu.simpo(), ""),
    "bradley_terry": (menu.bradley_terry(centring=0.01), "class"),
    "critique_bradley_terry": (menu.critique_bradley_terry(language=0.5), ""),
}


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "student")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "teacher", seed=1)


def settled(kind: str, teacher: Path) -> tuple[Targets | None, dict[str, Any]]:
    targets: dict[str, Targets] = {
        "teacher": Teacher(ref(teacher)),
        "top k": TopK(ref(teacher), 5),
        "sampled": Sampled(ref(teacher)),
        "reference": Reference(ref(teacher)),
        "both": Joined(Teacher(ref(teacher)), Reference()),
    }
    return targets.get(kind), {"head": "class", "classes": 1} if kind == "class" else {}


def check(student: Path, teacher: Path, records: Sequence[Example] | Sequence[Pair], objective: Objective, kind: str) -> None:
    targets, changes = settled(kind, teacher)
    if kind == "class" and isinstance(records[0], Example):
        changes["classes"] = 3
    opened = Opened(student, records, objective, targets=targets, **changes)
    _, whole = opened.value_and_gradient()
    worst = {str(way): off(opened.value_and_gradient(**way)[1], whole) for way in WAYS}
    assert len(worst) == 9
    assert max(worst.values()) < 1e-5, worst


@pytest.mark.parametrize("name", ON_EXAMPLES)
def test_on_examples(student: Path, teacher: Path, name: str) -> None:
    objective, kind = ON_EXAMPLES[name]
    records = [replace(e, label=i % 3) for i, e in enumerate(examples())] if kind == "class" else examples()
    check(student, teacher, records, objective, kind)


@pytest.mark.parametrize("name", ON_PAIRS)
def test_on_pairs(student: Path, teacher: Path, name: str) -> None:
    objective, kind = ON_PAIRS[name]
    critiques = {"chosen_critique": " Good: it adds up.", "rejected_critique": " Bad."}
    records = [replace(p, context=critiques if "critique" in name else {}, margin=0.1 * i) for i, p in enumerate(pairs())]
    check(student, teacher, records, objective, kind)


def test_a_coupled_window_is_laid_out_in_any_way_but_never_split(student: Path, teacher: Path) -> None:
    records = [replace(e, label=i % 2) for i, e in enumerate(examples())]
    opened = Opened(student, records, menu.kto(), targets=Reference(ref(teacher)), moved=0.5)
    _, whole = opened.value_and_gradient()
    ways: tuple[dict[str, Any], ...] = ({"layout": "right"}, {"layout": "left"}, {"micro_tokens": 1})
    assert max(off(opened.value_and_gradient(**way)[1], whole) for way in ways) < 1e-5
    assert off(opened.value_and_gradient(size=1)[1], whole) > 1e-3


def test_counts_of_this_file() -> None:
    assert (len(WAYS), len(ON_EXAMPLES), len(ON_PAIRS)) == (9, 16, 7)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jensen_shannon", "skewed_kl", "skewed_reverse_kl"])
def test_a_student_that_is_its_own_teacher_learns_nothing(student: Path, teacher: Path, name: str) -> None:
    objective = getattr(menu, name)()
    apart = gradient(student, examples(), objective, targets=Teacher(ref(teacher)), moved=1.0)
    same = gradient(student, examples(), objective, targets=Teacher(ref(student)), moved=1.0)
    assert float(same.norm()) <= 1e-6 * float(apart.norm())
