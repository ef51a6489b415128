"""Adapters in training: rollouts of an adapted student, and a class head on what an adapter has learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fits import digits
from safetensors.torch import load_file

from checkpoints import tiny_checkpoint
from tutelage.engine.loading import open_model
from tutelage.errors import CapabilityError
from tutelage.objectives import classification, cross_entropy, grpo, reverse_kl
from tutelage.records import Example, Prompt
from tutelage.train import FitSettings, Fixed, Lora, OnPolicy, Reference, Teacher
from tutelage.train.batch import Batch
from tutelage.train.loop import fit
from tutelage.train.opening import open_student
from tutelage.train.oracle import log_probs
from windows import examples, off, opened_site, ref

PROMPTS = [e.prompt for e in examples()]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "student")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("a") / "adapter"
    settings = FitSettings(lr=2e-2, batch=4, epochs=4, lora=Lora(rank=4))
    fit(model=base, source=Fixed(examples()), objective=cross_entropy(), settings=settings, seed=0, out=out)
    return out


def test_rollouts_of_an_adapted_student_are_drawn_with_the_adapter(base: Path, adapter: Path) -> None:
    """Behaviour log-probabilities are those of the adapted model in the loop, so the first ratio is one; the base's are others."""
    source = OnPolicy(PROMPTS, max_tokens=10, samples=2, reward=digits)
    settings = FitSettings(lr=1e-3, batch=4, steps=3, lora=Lora(rank=4))
    site = opened_site(adapter, settings)
    assert site.network.layout == "packed"
    window = source.open(site).draw(4)
    batch = Batch(window, site.network.device)
    plain = opened_site(base, FitSettings(lr=1e-3)).network
    with site.network.frozen(), plain.frozen():
        mine, others = log_probs(site.network, batch), log_probs(plain, batch)
    assert off(batch.fact("behaviour_log_probs"), mine) < 1e-5
    assert off(others, mine) > 1e-2


@pytest.mark.parametrize("kind", ["grpo", "reverse_kl"])
def test_on_policy_training_moves_the_adapter_and_nothing_else(base: Path, tmp_path: Path, kind: str) -> None:
    settings = FitSettings(lr=1e-2, batch=2, steps=4, lora=Lora(rank=4))
    source = OnPolicy(PROMPTS[:2], max_tokens=8, samples=4, reward=digits if kind == "grpo" else None)
    objective, targets = (grpo(kl=0.05), Reference()) if kind == "grpo" else (reverse_kl(), Teacher(ref(base)))
    result = fit(model=base, source=source, objective=objective, targets=targets, settings=settings, seed=1, out=tmp_path / "out")
    assert result.steps == 4
    moved = [n for n, t in load_file(tmp_path / "out" / "adapter_model.safetensors").items() if "lora_B" in n and t.abs().max() > 0]
    if kind == "grpo":
        assert len(moved) == 14
        assert result.log[0]["terms"]["reference_kl"] == pytest.approx(0.0, abs=1e-6)
        assert result.log[-1]["terms"]["reference_kl"] > 0
    else:  # the base is the teacher: at the start there is nothing to learn
        assert result.log[0]["loss"] == pytest.approx(0.0, abs=1e-6)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_an_adapted_student_continues_to_the_same_bits(base: Path, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def go(out: Path, **more: object) -> None:
        source = OnPolicy(PROMPTS[:4], max_tokens=6, samples=2, reward=digits)
        settings = FitSettings(lr=1e-2, batch=2, steps=4, lora=Lora(rank=4, dropout=0.1), checkpoint_every=2)
        fit(model=base, source=source, objective=grpo(), settings=settings, seed=1, out=out, **more)  # pyright: ignore[reportArgumentType]

    def stop(done: int, total: int, loss: float) -> None:
        if done == 3:
            raise Enough

    go(tmp_path / "whole")
    with pytest.raises(Enough):
        go(tmp_path / "cut", checkpoint=tmp_path / "state", progress=stop)
    go(tmp_path / "cut", checkpoint=tmp_path / "state")
    whole, cut = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in ("whole", "cut"))
    assert whole == cut


LABELLED = [Example(prompt=Prompt.user(f"{'ja' if i % 2 else 'nee'} {i}"), completion="", label=i % 2) for i in range(8)]


def test_a_class_head_on_an_adapter_starts_from_its_merged_body(base: Path, adapter: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=5e-3, batch=4, epochs=8, head="class", classes=2)
    opened, network = open_student(adapter, settings, device=torch.device("cpu"))
    network.restore_attention()
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        body = network.body(input_ids=ids).last_hidden_state
        merged = open_model(adapter).module.merge_and_unload().model(input_ids=ids).last_hidden_state  # pyright: ignore[reportCallIssue]
        plain = open_model(base).module.model(input_ids=ids).last_hidden_state  # pyright: ignore[reportCallIssue]
    assert off(body, merged) < 1e-5
    assert off(body, plain) > 1e-2
    assert opened.module.config.num_labels == 2  # pyright: ignore[reportAttributeAccessIssue]
    for model in (adapter, (base, adapter)):
        out = tmp_path / f"class-{isinstance(model, tuple)}"
        result = fit(model=model, source=Fixed(LABELLED), objective=classification(), settings=settings, seed=0, out=out)
        assert result.log[-1]["loss"] < 0.5 * result.log[0]["loss"]
        assert (out / "model.safetensors").is_file()
        assert not (out / "adapter_config.json").exists()
    weights = [(tmp_path / f"class-{kind}" / "model.safetensors").read_bytes() for kind in (False, True)]
    assert weights[0] == weights[1]


def test_heads_that_cannot_be_put_there_are_refused_with_the_way_out(adapter: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=5e-3, head="class", classes=2, lora=Lora(rank=4))
    with pytest.raises(CapabilityError, match="cannot stand on another adapter") as told:
        fit(model=adapter, source=Fixed(LABELLED), objective=classification(), settings=settings, seed=0, out=tmp_path / "x")
    assert "lora=None" in str(told.value)
    encoder = _encoder(adapter, tmp_path / "encoder")
    with pytest.raises(CapabilityError, match="no causal language model"):
        fit(model=encoder, source=Fixed(examples()), objective=cross_entropy(), settings=FitSettings(lr=1e-3), seed=0, out=tmp_path / "x")


def _encoder(like: Path, out: Path) -> Path:
    import transformers

    rendering = open_model(like).rendering
    config = transformers.BertConfig(
        vocab_size=len(rendering.tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    config.architectures = ["BertModel"]
    transformers.BertModel(config).save_pretrained(out)
    rendering.tokenizer.save_pretrained(out)
    return out
