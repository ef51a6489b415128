"""Alignment on tokens, not on table widths: padded tables work, unequal tokenizers are refused, spare ids get no mass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import tiny_checkpoint, tiny_tokenizer
from tutelage.engine.loading import open_model
from tutelage.errors import SettingsError
from tutelage.objectives import cross_entropy, jensen_shannon, reverse_kl, sparse
from tutelage.train import FitSettings, Fixed, Sampled, Teacher, TopK
from tutelage.train.loop import fit
from tutelage.train.vocabulary import shared_vocabulary
from windows import examples, gradient, off, opened_site, ref


def padded(folder: Path, out: Path, width: int) -> Path:
    """The same checkpoint with a wider table, whose spare rows shout."""
    opened = open_model(folder)
    module = opened.module
    real = module.config.vocab_size  # pyright: ignore[reportAttributeAccessIssue]
    module.resize_token_embeddings(width, mean_resizing=False)  # pyright: ignore[reportCallIssue]
    with torch.no_grad():
        module.get_output_embeddings().weight[real:] = 3.0  # pyright: ignore[reportCallIssue]
    module.save_pretrained(out)  # pyright: ignore[reportCallIssue]
    opened.rendering.tokenizer.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "student")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "teacher", seed=1)


def test_tables_padded_to_different_widths_give_the_gradient_of_exact_ones(student: Path, teacher: Path, tmp_path: Path) -> None:
    wide = padded(teacher, tmp_path / "wide", 640)
    for objective, targets in ((reverse_kl(), Teacher), (jensen_shannon(), Teacher), (sparse(reverse_kl()), lambda r: TopK(r, 4))):
        exact = gradient(student, examples(), objective, targets=targets(ref(teacher)))
        assert off(gradient(student, examples(), objective, targets=targets(ref(wide))), exact) < 1e-5


def test_spare_ids_get_neither_mass_nor_gradient_and_generation_elsewhere_is_told(student: Path, tmp_path: Path) -> None:
    wide = padded(student, tmp_path / "wide", 600)
    before = open_model(wide).module.get_output_embeddings().weight.detach().clone()  # pyright: ignore[reportCallIssue]
    settings = FitSettings(lr=5e-3, epochs=3)
    result = fit(model=wide, source=Fixed(examples()), objective=cross_entropy(), settings=settings, seed=0, out=tmp_path / "out")
    exact = fit(model=student, source=Fixed(examples()), objective=cross_entropy(), settings=settings, seed=0, out=tmp_path / "exact")
    assert result.log[0]["loss"] == pytest.approx(exact.log[0]["loss"], rel=1e-5)
    after = open_model(tmp_path / "out").module.get_output_embeddings().weight.detach()  # pyright: ignore[reportCallIssue]
    real = len(tiny_tokenizer("llama"))
    assert torch.equal(after[real:], before[real:])
    assert not torch.equal(after[:real], before[:real])
    told = json.loads((tmp_path / "out" / "generation_config.json").read_text())["suppress_tokens"]
    assert told == list(range(real, 600))


def test_special_tokens_of_one_side_are_left_out_and_counted() -> None:
    one, other = tiny_tokenizer("llama"), tiny_tokenizer("llama")
    other.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    shared = shared_vocabulary(one, other)
    assert (shared.size, shared.student_only, shared.teacher_only) == (len(one), 0, 2)
    assert shared.ids is None
    turned = shared_vocabulary(other, one)
    assert turned.foreign == {len(one), len(one) + 1}


@pytest.mark.parametrize("targets", [Teacher, Sampled, lambda r: TopK(r, 4)], ids=["teacher", "sampled", "top k"])
def test_unequal_ends_of_text_are_refused_before_the_first_step(student: Path, teacher: Path, tmp_path: Path, targets: Any) -> None:
    """A base model beside its instructed sibling: one vocabulary, two ends."""
    shutil.copytree(teacher, tmp_path / "instructed")
    tokenizer = open_model(teacher).rendering.tokenizer
    tokenizer.eos_token = "<s>"
    tokenizer.save_pretrained(tmp_path / "instructed")
    site = opened_site(student, FitSettings(lr=1e-3))
    targets(ref(teacher)).open(site)
    with pytest.raises(SettingsError, match="end a text with different tokens") as refused:
        targets(ref(tmp_path / "instructed")).open(site)
    assert "'</s>'" in str(refused.value)
    assert "'<s>'" in str(refused.value)
    assert "eos_token" in str(refused.value)


def test_unequal_tokenizers_are_refused_with_the_way_out(student: Path, tmp_path: Path) -> None:
    other = tiny_checkpoint(tmp_path / "other", "qwen3")
    with pytest.raises(SettingsError, match="different tokens") as refused:
        gradient(student, examples(), reverse_kl(), targets=Teacher(ref(other)))
    assert "cross_entropy" in str(refused.value)
    assert "agree" in str(refused.value)
