"""A teacher that is asked something else than the student: the same completion under its own prompt."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from checkpoints import tiny_checkpoint, tiny_tokenizer
from tutelage.engine.loading import open_model
from tutelage.errors import DataError
from tutelage.objectives import Objective, forward_kl, match_hidden_cosine, reverse_kl, sampled_kl, sparse
from tutelage.records import Prompt
from tutelage.train import FitSettings, Fixed, Instead, Itself, OnPolicy, Sampled, Targets, Teacher, TopK
from tutelage.train.loop import fit
from windows import examples, loss_and_gradient, off, ref

HINT = "Watch closely: the sum is written behind it, and a colour is named last.\n"


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "student")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "teacher", seed=1)


def hinted() -> Instead:
    return Instead((e.prompt, Prompt.user(HINT + e.prompt.text)) for e in examples())


def same() -> Instead:
    return Instead((e.prompt, e.prompt) for e in examples())


def test_the_value_is_that_of_a_loop_over_both_prompts(student: Path, teacher: Path) -> None:
    """KL(p(. | hint, x, y<i) || q(. | x, y<i)), summed over weights and tokens by hand in float64."""
    value, _ = loss_and_gradient(student, examples(), forward_kl(), targets=Teacher(ref(teacher), asked=hinted()), moved=1.0)
    models = [open_model(folder) for folder in (student, teacher)]
    charged, weights = 0.0, 0.0
    for example in examples():
        after = models[0].rendering.completion_ids(example.completion)
        rows: list[list[torch.Tensor]] = []
        for opened, prompt in zip(models, (example.prompt, Prompt.user(HINT + example.prompt.text)), strict=True):
            before = opened.rendering.prompt_ids(prompt)
            with torch.no_grad():
                logits = opened.module(input_ids=torch.tensor([[*before, *after]])).logits[0].double()
            rows.append([logits[len(before) + i - 1, : len(tiny_tokenizer("llama"))] for i in range(len(after))])
        for mine, theirs in zip(*rows, strict=True):
            p, q = theirs.softmax(-1).tolist(), mine.softmax(-1).tolist()
            charged += example.weight * sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
            weights += example.weight
    assert value == pytest.approx(charged / weights, rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "targets"),
    [
        (reverse_kl(), Teacher),
        (match_hidden_cosine(), Teacher),
        (sampled_kl(), Teacher),
        (sampled_kl(), Sampled),
        (sparse(reverse_kl()), lambda r, asked=None: TopK(r, 4, asked=asked)),
    ],
    ids=["dense", "hidden", "drawn-live", "drawn", "top"],
)
def test_the_same_prompt_changes_nothing_and_another_does(student: Path, teacher: Path, objective: Objective, targets: type) -> None:
    plain, own, other = (
        loss_and_gradient(student, examples(), objective, targets=targets(ref(teacher), asked=asked))[1]
        for asked in (None, same(), hinted())
    )
    assert off(own, plain) < 1e-6
    assert off(other, plain) > 1e-3


def test_all_targets_agree_under_the_other_prompt(student: Path, teacher: Path) -> None:
    everything = len(tiny_tokenizer("llama"))
    for one, other in (
        ((reverse_kl(), Teacher(ref(teacher), asked=hinted())), (sparse(reverse_kl()), TopK(ref(teacher), everything, asked=hinted()))),
        ((sampled_kl(), Teacher(ref(teacher), asked=hinted())), (sampled_kl(), Sampled(ref(teacher), asked=hinted()))),
    ):
        assert off(_gradient(student, *other), _gradient(student, *one)) < 1e-5


def _gradient(student: Path, objective: Objective, targets: Targets) -> torch.Tensor:
    return loss_and_gradient(student, examples(), objective, targets=targets)[1]


def test_rollouts_and_truncated_prompts_are_judged_under_the_teachers_prompt(student: Path, tmp_path: Path) -> None:
    """The student is its own teacher: under the same prompt nothing is to be learned, under another something is."""
    prompts = [e.prompt for e in examples()]
    losses: dict[str, float] = {}
    for name, asked in (("same", same()), ("hinted", hinted())):
        settings = FitSettings(lr=1e-6, batch=4, steps=1, overflow="truncate", context_tokens=40)
        source = OnPolicy(prompts, max_tokens=6)
        result = fit(
            model=student,
            source=source,
            objective=reverse_kl(),
            targets=Teacher(ref(student), asked=asked),
            settings=settings,
            seed=0,
            out=tmp_path / name,
        )
        losses[name] = result.log[0]["loss"]
    assert losses["same"] == pytest.approx(0.0, abs=1e-6)
    assert losses["hinted"] > 1e-4


def test_a_prompt_without_partner_and_a_row_beyond_the_teachers_context_are_refused(student: Path, teacher: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=1e-3)

    def go(asked: Instead) -> None:
        targets = Teacher(ref(teacher), asked=asked)
        fit(model=student, source=Fixed(examples()), objective=reverse_kl(), targets=targets, settings=settings, seed=0, out=tmp_path / "x")

    with pytest.raises(DataError, match="no prompt to be asked instead"):
        go(Instead([(examples()[0].prompt, Prompt.user("Q"))]))
    with pytest.raises(DataError, match="longer than the teacher's context") as told:
        go(Instead((e.prompt, Prompt.user("word " * 400 + e.prompt.text)) for e in examples()))
    assert "256 tokens" in str(told.value)


def test_the_live_student_can_be_its_own_teacher_under_another_prompt(student: Path, tmp_path: Path) -> None:
    """In the first step it is the frozen student; later it has moved along, so that what is left to learn shrinks further."""
    frozen, live = (
        loss_and_gradient(student, examples(), reverse_kl(), targets=targets, moved=1.0)
        for targets in (Teacher(ref(student), asked=hinted()), Itself(asked=hinted()))
    )
    assert live[0] == pytest.approx(frozen[0], rel=1e-5)
    assert off(live[1], frozen[1]) < 1e-5
    moved = loss_and_gradient(student, examples(), reverse_kl(), targets=Itself(asked=hinted()), moved=1.3)
    kept = loss_and_gradient(student, examples(), reverse_kl(), targets=Teacher(ref(student), asked=hinted()), moved=1.3)
    assert abs(moved[0] - kept[0]) > 1e-3
    assert loss_and_gradient(student, examples(), reverse_kl(), targets=Itself(asked=same()), moved=1.3)[0] == pytest.approx(0, abs=1e-6)
    settings = FitSettings(lr=1e-3, batch=4, steps=3)
    source = OnPolicy([e.prompt for e in examples()], max_tokens=6)
    result = fit(
        model=student, source=source, objective=reverse_kl(), targets=Itself(asked=hinted()), settings=settings, seed=0, out=tmp_path / "o"
    )
    assert result.steps == 3
    assert all(entry["loss"] > 0 for entry in result.log)


def test_the_prompts_are_part_of_the_fits_key(teacher: Path) -> None:
    keys = [Teacher(ref(teacher), asked=asked).describe() for asked in (None, same(), hinted())]
    assert keys[0] != keys[1] != keys[2]
    assert Teacher(ref(teacher), asked=hinted()).describe() == keys[2]
    assert TopK(ref(teacher), 4).describe() == {"targets": "top-k", "model": ref(teacher).digest, "k": 4}
