"""Values and gradients equal to TRL's on equal inputs, and the differences that are its defects shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import tiny_checkpoint
from tutelage.objectives import bradley_terry, cross_entropy, dpo, grpo, ipo, jensen_shannon
from tutelage.train import FitSettings, Fixed, Reference, Teacher
from tutelage.train.loop import fit
from tutelage.train.window import Group, Row
from windows import examples, loss_and_gradient, off, opened_site, pairs, ref

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'tutelage[dev]'")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not trl.__version__.startswith("1.16."), reason=f"parity is stated for TRL 1.16, this is {trl.__version__}"),
]
BAR = 1e-5


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "student")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "teacher", seed=1)


def lm(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(folder)
    found.pad_token = "<unk>"
    return found


def arguments(kind: Any, out: Path, **options: Any) -> Any:
    return kind(
        output_dir=str(out), report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no", **options
    )


def data(**columns: Sequence[str]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(dict(columns))


def padded(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    width = max(len(r.ids) for r in rows)
    ids, seen, charged = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(3))
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        seen[i, : len(row.ids)] = 1
        charged[i, list(row.charged)] = 1
    return {"input_ids": ids, "attention_mask": seen, "completion_mask": charged}


def groups_of(folder: Path, records: Sequence[Any]) -> list[Group]:
    feed = Fixed(records).open(opened_site(folder, FitSettings(lr=1.0)))
    return list(feed.fixed)


def slope(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def agree(mine: tuple[float, torch.Tensor], loss: torch.Tensor, gradient: torch.Tensor) -> None:
    assert mine[0] == pytest.approx(loss.item(), rel=BAR, abs=1e-6)
    assert off(mine[1], gradient) <= BAR


def plain() -> list[Any]:
    return [replace(e, weight=1.0) for e in examples()]


def test_sft(student: Path, tmp_path: Path) -> None:
    trainer = trl.SFTTrainer(
        model=lm(student),
        args=arguments(trl.SFTConfig, tmp_path, dataset_num_proc=None),
        train_dataset=data(prompt=["Q"], completion=["A"]),
        processing_class=tokenizer(student),
    )
    inputs = padded([r for g in groups_of(student, plain()) for r in g.rows])
    labels = inputs["input_ids"].masked_fill(inputs.pop("completion_mask") == 0, -100)
    loss = trainer.compute_loss(trainer.model, {**inputs, "labels": labels})
    agree(loss_and_gradient(student, plain(), cross_entropy(), moved=1.0), loss, slope(trainer.model, loss))


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
def test_dpo(student: Path, teacher: Path, tmp_path: Path, kind: str) -> None:
    trainer = trl.DPOTrainer(
        model=lm(student),
        ref_model=lm(teacher),
        args=arguments(trl.DPOConfig, tmp_path, loss_type=[kind], beta=0.2),
        train_dataset=data(prompt=["Q"], chosen=["A"], rejected=["B"]),
        processing_class=tokenizer(student),
    )
    groups = groups_of(student, pairs())
    inputs = padded([g.rows[0] for g in groups] + [g.rows[1] for g in groups])
    loss = trainer.compute_loss(trainer.model, inputs)
    objective = dpo(beta=0.2) if kind == "sigmoid" else ipo(tau=0.2, per_token=True)
    mine = loss_and_gradient(student, pairs(), objective, targets=Reference(ref(teacher)), moved=1.0)
    agree(mine, loss, slope(trainer.model, loss))


def test_reward(student: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=1e-3, head="class", classes=1, epochs=1)
    margins = [replace(p, margin=0.1 * i) for i, p in enumerate(pairs())]
    fit(model=student, source=Fixed(margins), objective=bradley_terry(), settings=settings, seed=0, out=tmp_path / "reward")
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward", dtype=torch.float32)
    trainer = trl.RewardTrainer(
        model=model,
        args=arguments(trl.RewardConfig, tmp_path, center_rewards_coefficient=0.05),
        train_dataset=data(prompt=["Q"], chosen=["A"], rejected=["B"]),
        processing_class=tokenizer(student),
    )
    groups = groups_of(student, margins)
    inputs = padded([g.rows[0] for g in groups] + [g.rows[1] for g in groups])
    inputs.pop("completion_mask")
    inputs["input_ids"][inputs["attention_mask"] == 0] = model.config.pad_token_id
    loss = trainer.compute_loss(trainer.model, {**inputs, "margin": torch.tensor([g.margin for g in groups])})
    mine = loss_and_gradient(tmp_path / "reward", margins, bradley_terry(centring=0.05), moved=1.0, head="class", classes=1)
    agree(mine, loss, slope(trainer.model, loss))


@pytest.mark.parametrize("kind", ["grpo", "dapo"])
def test_grpo(student: Path, tmp_path: Path, kind: str) -> None:
    trainer = trl.GRPOTrainer(
        model=lm(student),
        reward_funcs=lambda completions, **_: [0.0 for _ in completions],
        args=arguments(trl.GRPOConfig, tmp_path, loss_type=kind, beta=0.0, num_generations=2, per_device_train_batch_size=2),
        train_dataset=data(prompt=["Q", "R"]),
        processing_class=tokenizer(student),
    )
    rows = [g.rows[0] for g in groups_of(student, plain())]
    drawn = torch.Generator().manual_seed(0)
    advantages = torch.randn(len(rows), generator=drawn)
    behaviour = [-3.0 - torch.rand(len(r.charged), generator=drawn) for r in rows]
    groups = [
        Group(rows=(replace(r, facts={"advantages": (a,) * len(r.charged), "behaviour_log_probs": tuple(b.tolist())}),))
        for r, a, b in zip(rows, advantages.tolist(), behaviour, strict=True)
    ]
    prompts, completions = [r.ids[: r.charged[0]] for r in rows], [r.ids[r.charged[0] :] for r in rows]
    wide, long = max(map(len, prompts)), max(map(len, completions))

    def grid(parts: Sequence[Sequence[float]], width: int, *, left: bool) -> torch.Tensor:
        return torch.tensor([[*[0] * (width - len(p)), *p] if left else [*p, *[0] * (width - len(p))] for p in parts])

    inputs = {
        "prompt_ids": grid(prompts, wide, left=True),
        "prompt_mask": grid([[1] * len(p) for p in prompts], wide, left=True),
        "completion_ids": grid(completions, long, left=False),
        "completion_mask": grid([[1] * len(c) for c in completions], long, left=False),
        "old_per_token_logps": grid([b.tolist() for b in behaviour], long, left=False),
        "advantages": advantages,
        "num_items_in_batch": torch.tensor(float(sum(map(len, completions)))),
    }
    trainer.current_gradient_accumulation_steps = 1
    trainer.args.steps_per_generation = 1
    loss = trainer._compute_loss(trainer.model.train(), inputs)
    mine = loss_and_gradient(student, groups, grpo(per="sequence" if kind == "grpo" else "token"), moved=1.0)
    agree(mine, loss, slope(trainer.model, loss))


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_generalised_distillation(student: Path, teacher: Path, beta: float) -> None:
    from trl.experimental.gkd.gkd_trainer import GKDTrainer

    model, other = lm(student), lm(teacher)
    inputs = padded([r for g in groups_of(student, plain()) for r in g.rows])
    charged = inputs.pop("completion_mask")[:, 1:]
    labels = inputs["input_ids"][:, 1:].masked_fill(charged == 0, -100)
    with torch.no_grad():
        known = other(**inputs).logits[:, :-1]
    loss = GKDTrainer.generalized_jsd_loss(model(**inputs).logits[:, :-1], known, labels=labels, beta=beta)
    mine = loss_and_gradient(student, plain(), jensen_shannon(beta=beta), targets=Teacher(ref(teacher)), moved=1.0)
    agree(mine, loss, slope(model, loss))


def test_the_window_is_their_sum_of_means_only_where_lengths_are_equal(student: Path) -> None:
    """A defect of dividing each micro-batch by its own count, which several trainers share: the mean over tokens of two micro-batches of
    unequal length is not the mean of their means. The loop divides by the window's count, so its gradient is the whole window's."""
    whole = loss_and_gradient(student, plain(), cross_entropy(), moved=1.0)
    halves = [loss_and_gradient(student, part, cross_entropy(), moved=1.0) for part in (plain()[:2], plain()[2:])]
    assert off((halves[0][1] + halves[1][1]) / 2, whole[1]) > 1e-2
    assert off(loss_and_gradient(student, plain(), cross_entropy(), moved=1.0, size=2)[1], whole[1]) <= BAR
