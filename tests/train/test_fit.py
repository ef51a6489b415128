"""The loop: same numbers however a window is split or laid out, the same weights every time, whole folders only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import FAMILIES, tiny_checkpoint
from tutelage.engine.digest import digest_of, inspect_folder
from tutelage.engine.loading import open_model
from tutelage.errors import CapabilityError, DataError, SettingsError
from tutelage.objectives import cross_entropy, dpo
from tutelage.records import Example, ModelRef, Prompt
from tutelage.train import FitSettings, Fixed, Lora, Reference
from tutelage.train.loop import FitResult, fit
from tutelage.train.opening import open_student
from windows import examples, gradient, off, pairs


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "llama", card={"dialect": "folds", "licence": "Apache-2.0"})


@pytest.mark.parametrize("family", FAMILIES)
def test_packing_gives_the_numbers_of_padding_or_says_that_it_pads(tmp_path: Path, family: str) -> None:
    folder = tiny_checkpoint(tmp_path / family, family)
    settings = FitSettings(lr=1e-3)
    _, network = open_student(folder, settings, device=torch.device("cpu"))
    assert (network.layout == "packed") == (family != "mistral-window"), network.notes
    assert bool(network.notes) == (family == "mistral-window")
    packed, padded = gradient(folder, examples(), cross_entropy()), gradient(folder, examples(), cross_entropy(), layout="right")
    assert off(packed, padded) < 1e-5


def run(model: Path, out: Path, *, seed: int = 0, **changes: object) -> FitResult:
    settings = FitSettings(lr=1e-3, batch=4, epochs=2, schedule="cosine", warmup=0.25, **changes)  # pyright: ignore[reportArgumentType]
    return fit(model=model, source=Fixed(examples()), objective=cross_entropy(), settings=settings, seed=seed, out=out)


def test_the_same_fit_gives_the_same_bytes_and_another_seed_does_not(llama: Path, tmp_path: Path) -> None:
    one, two, other = run(llama, tmp_path / "a"), run(llama, tmp_path / "b"), run(llama, tmp_path / "c", seed=1)
    weights = [(tmp_path / n / "model.safetensors").read_bytes() for n in "abc"]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]
    assert one.log == two.log
    assert (one.steps, one.examples) == (4, 16)
    assert one.log[-1]["loss"] < one.log[0]["loss"]
    assert other.dropped == {}
    digests = {digest_of(inspect_folder(tmp_path / n)) for n in "abc"}
    assert len(digests) == 2


def test_the_written_folder_is_an_ordinary_checkpoint_with_its_own_entry_and_tokenizer(llama: Path, tmp_path: Path) -> None:
    run(llama, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tutelage"] == {"dialect": "folds", "licence": "Apache-2.0"}
    assert (tmp_path / "out" / "generation_config.json").is_file()
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (llama / "tokenizer.json").read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    ids = torch.arange(12)[None]
    opened = open_model(tmp_path / "out")
    assert opened.module(input_ids=ids).logits.isfinite().all()
    assert str(llama) not in (tmp_path / "out" / "config.json").read_text()


def test_lora_trains_the_adapter_only_and_writes_a_folder_that_opens(llama: Path, tmp_path: Path) -> None:
    result = run(llama, tmp_path / "adapter", lora=Lora(rank=4))
    assert result.log[-1]["loss"] < result.log[0]["loss"]
    names = {p.name for p in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert "model.safetensors" not in names
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert any(t.abs().max() > 0 for n, t in adapter.items() if "lora_B" in n)
    opened = open_model(tmp_path / "adapter")
    plain = open_model(llama)
    ids = torch.arange(12)[None]
    assert (opened.module(input_ids=ids).logits - plain.module(input_ids=ids).logits).abs().max() > 1e-4
    on = fit(
        model=(llama, tmp_path / "adapter"),
        source=Fixed(examples()),
        objective=cross_entropy(),
        settings=FitSettings(lr=1e-3, lora=Lora(rank=4)),
        seed=0,
        out=tmp_path / "further",
    )
    assert on.log[0]["loss"] < result.log[0]["loss"]
    other = tiny_checkpoint(tmp_path / "other", seed=3)
    with pytest.raises(DataError, match="another base"):
        fit(
            model=(other, tmp_path / "adapter"),
            source=Fixed(examples()),
            objective=cross_entropy(),
            settings=FitSettings(lr=1e-3),
            seed=0,
            out=tmp_path / "no",
        )


def test_dpo_reports_the_implicit_rewards_before_and_after(llama: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=3e-3, batch=4, epochs=6)
    result = fit(
        model=llama, source=Fixed(pairs()), objective=dpo(beta=0.1), targets=Reference(), settings=settings, seed=0, out=tmp_path / "out"
    )
    assert result.before["reward_margin_nats"] == pytest.approx(0, abs=1e-5)
    assert result.after["reward_margin_nats"] > 0.2
    assert result.after["reward_win_rate"] > 0.8
    assert result.log[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    named = ModelRef(name="hf:x", digest=digest_of(inspect_folder(llama)), path=str(llama))
    again = fit(
        model=llama,
        source=Fixed(pairs()),
        objective=dpo(beta=0.1),
        targets=Reference(named),
        settings=settings,
        seed=0,
        out=tmp_path / "again",
    )
    assert again.log == result.log
    elsewhere = tiny_checkpoint(tmp_path / "elsewhere", seed=5)
    far = ModelRef(name="hf:y", digest=digest_of(inspect_folder(elsewhere)), path=str(elsewhere))
    moved = fit(
        model=llama,
        source=Fixed(pairs()),
        objective=dpo(beta=0.1),
        targets=Reference(far),
        settings=settings,
        seed=0,
        out=tmp_path / "moved",
    )
    assert abs(moved.before["reward_margin_nats"]) > 1e-3


def test_rows_that_cannot_be_used_are_counted_and_the_policy_is_the_users(llama: Path, tmp_path: Path) -> None:
    long = Example(prompt=Prompt.user("word " * 300), completion="It is 42.")
    masked = Example(prompt=Prompt.user("Q"), completion="12", spans=((0, 3, 0.0),))
    records = [*examples(), long, masked]

    def go(**changes: object) -> FitResult:
        settings = FitSettings(lr=1e-3, **changes)  # pyright: ignore[reportArgumentType]
        return fit(model=llama, source=Fixed(records), objective=cross_entropy(), settings=settings, seed=0, out=tmp_path / "out")

    assert go().dropped == {"longer than the context": 1, "nothing to learn: all of it is masked or empty": 1}
    cut = go(overflow="truncate")
    assert cut.dropped == {"truncated to the context": 1, "nothing to learn: all of it is masked or empty": 1}
    assert cut.examples == 9
    with pytest.raises(DataError, match="longer than the context"):
        go(overflow="error")
    with pytest.raises(DataError, match="nothing to train on"):
        fit(model=llama, source=Fixed([masked]), objective=cross_entropy(), settings=FitSettings(lr=1), seed=0, out=tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_needs_are_checked_before_work(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="targets do not offer"):
        fit(model=llama, source=Fixed(pairs()), objective=dpo(), settings=FitSettings(lr=1e-3), seed=0, out=tmp_path / "x")
    with pytest.raises(SettingsError, match="unknown value"):
        FitSettings(lr=1e-3, schedule="cosin")
    with pytest.raises(SettingsError, match="beta"):
        dpo(beta=0)
