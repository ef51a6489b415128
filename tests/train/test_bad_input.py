"""What goes wrong is said with the value and the way out, and leaves nothing half done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import tiny_checkpoint
from tutelage.engine.loading import open_model
from tutelage.errors import CapabilityError, DataError, OutsideError, SettingsError, TutelageError
from tutelage.objectives import (
    bradley_terry,
    classification,
    critique_bradley_terry,
    cross_entropy,
    dpo,
    grpo,
    kto,
    match_hidden_cosine,
    match_hidden_mse,
)
from tutelage.records import Example, Prompt
from tutelage.train import FitSettings, Fixed, Lora, OnPolicy, Reference, Rollout, Teacher, Watch
from tutelage.train.loop import OWN_FILE, explained, fit
from tutelage.train.schedule import factor
from tutelage.train.window import count
from windows import examples, opened_site, pairs, ref


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("m") / "student")


def explode(rollouts: Sequence[Rollout]) -> list[float]:
    return [float("nan") for _ in rollouts]


def test_a_loss_that_is_no_number_stops_the_fit_and_saves_the_window(student: Path, tmp_path: Path) -> None:
    from tutelage.objectives import rloo

    source = OnPolicy([e.prompt for e in examples()], max_tokens=4, samples=2, reward=explode, advantage="leave_one_out")
    with pytest.raises(SettingsError, match="not a finite number at step 1") as stopped:
        fit(model=student, source=source, objective=rloo(), settings=FitSettings(lr=1e-3, steps=3), seed=0, out=tmp_path / "out")
    saved = tmp_path / "out.bad-window.json"
    assert str(saved) in str(stopped.value)
    body = json.loads(saved.read_text())
    assert len(body["groups"]) == 8
    assert body["groups"][0]["text"]
    assert not (tmp_path / "out").exists()


def test_running_out_of_memory_names_what_to_try() -> None:
    settings = FitSettings(lr=1e-3, micro_tokens=4096, tile_bytes=2**24)
    for error in (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
    ):
        with pytest.raises(OutsideError, match="memory ran out") as told, explained(settings):
            raise error
        assert "micro_tokens=1024 and tile_bytes=4194304" in str(told.value)
    with pytest.raises(RuntimeError, match="shape"), explained(settings):
        raise RuntimeError("shape mismatch")


def test_needs_of_objectives_are_named(student: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=1e-3)
    with pytest.raises(CapabilityError, match="targets do not offer") as told:
        fit(model=student, source=Fixed(examples()), objective=match_hidden_mse(), settings=settings, seed=0, out=tmp_path / "x")
    assert "teacher_hidden" in str(told.value)
    with pytest.raises(DataError, match="nothing to train on"):
        fit(model=student, source=Fixed([]), objective=cross_entropy(), settings=settings, seed=0, out=tmp_path / "x")
    with pytest.raises(DataError, match="mixes"):
        Fixed([*examples(), *pairs()])


def test_a_prompt_that_fills_the_context_cannot_be_continued(student: Path, tmp_path: Path) -> None:
    source = OnPolicy([Prompt.user("word " * 400)], max_tokens=4)
    with pytest.raises(DataError, match="fills the whole context"):
        fit(model=student, source=source, objective=cross_entropy(), settings=FitSettings(lr=1e-3, steps=1), seed=0, out=tmp_path / "x")


def test_early_stopping_keeps_the_best_weights(student: Path, tmp_path: Path) -> None:
    watch = Watch.on([replace(e, completion="No, he does not.") for e in examples()], every=2, patience=2)
    settings = FitSettings(lr=2e-2, batch=4, epochs=30)
    result = fit(
        model=student, source=Fixed(examples()[:4]), objective=cross_entropy(), settings=settings, seed=0, out=tmp_path / "out", watch=watch
    )
    seen = [e["watched"] for e in result.log if "watched" in e]
    assert result.steps < 30
    assert "no longer falls" in result.notes[-1]
    assert min(seen) == seen[-3]
    again = FitSettings(lr=1e-9, batch=8)
    kept = fit(
        model=tmp_path / "out", source=Fixed(watch.records), objective=cross_entropy(), settings=again, seed=0, out=tmp_path / "more"
    )
    assert kept.log[0]["loss"] == pytest.approx(min(seen), rel=1e-4)


def test_a_class_head_learns_and_is_an_ordinary_classifier(student: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    labelled = [Example(prompt=Prompt.user(f"{'ja' if i % 2 else 'nee'} {i}"), completion="", label=i % 2) for i in range(12)]
    settings = FitSettings(lr=5e-3, batch=6, epochs=12, head="class", classes=2)
    result = fit(model=student, source=Fixed(labelled), objective=classification(), settings=settings, seed=0, out=tmp_path / "out")
    assert result.log[-1]["loss"] < 0.2 < result.log[0]["loss"]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype=torch.float32)
    site = opened_site(student, FitSettings(lr=1.0))
    right = 0
    for example in labelled:
        ids = [*site.rendering.prompt_ids(example.prompt), *site.rendering.completion_ids("")]
        right += int(model(input_ids=torch.tensor([ids])).logits.argmax()) == example.label
    assert right == 12
    with pytest.raises(SettingsError, match="number of classes"):
        FitSettings(lr=1e-3, head="class")


def test_parameters_of_a_term_are_trained_and_written_beside_the_weights(student: Path, tmp_path: Path) -> None:
    critiques = {"chosen_critique": " Good: it adds up.", "rejected_critique": " Bad."}
    judged = [replace(p, context=critiques) for p in pairs()]
    settings = FitSettings(lr=5e-3, batch=4, epochs=6)
    result = fit(model=student, source=Fixed(judged), objective=critique_bradley_terry(), settings=settings, seed=0, out=tmp_path / "out")
    assert result.log[-1]["terms"]["critique_bradley_terry"] < 0.3
    assert result.log[-1]["terms"]["cross_entropy"] < 0.5 * result.log[0]["terms"]["cross_entropy"]
    own = load_file(tmp_path / "out" / OWN_FILE)
    assert own["critique_bradley_terry.reward_head"].shape == (32, 1)


def test_bf16_is_near_fp32_and_muon_learns(student: Path, tmp_path: Path) -> None:
    def go(**changes: object) -> list[float]:
        settings = FitSettings(batch=4, epochs=4, **{"lr": 3e-3, **changes})  # pyright: ignore[reportArgumentType]
        result = fit(model=student, source=Fixed(examples()), objective=cross_entropy(), settings=settings, seed=0, out=tmp_path / "out")
        return [e["loss"] for e in result.log]

    full, half, muon = go(), go(precision="bf16"), go(optimiser="muon", lr=2e-2)
    assert half[0] == pytest.approx(full[0], rel=2e-2)
    assert half[0] != full[0]
    assert full[-1] < 0.8 * full[0]
    assert half[-1] == pytest.approx(full[-1], rel=0.1)
    assert muon[-1] < 0.8 * muon[0]


def test_schedules() -> None:
    linear = FitSettings(lr=1.0, schedule="linear", warmup=0.2)
    assert [round(factor(linear, i, 10), 4) for i in range(10)] == [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    cosine = FitSettings(lr=1.0, schedule="cosine")
    assert factor(cosine, 0, 4) == 1.0
    assert factor(cosine, 2, 4) == pytest.approx(0.5)
    assert factor(FitSettings(lr=1.0), 9, 10) == 1.0


def test_counts_are_sums_of_weights(student: Path) -> None:
    site = opened_site(student, FitSettings(lr=1.0, batch=8))
    spanned = Example(prompt=Prompt.user("Q"), completion="It is 42.", spans=((0, 9, 0.5),), weight=2.0)
    group = Fixed([spanned]).open(site).fixed[0]
    tokens = len(group.rows[0].charged)
    term = cross_entropy().terms[0]
    assert count(term, [group]) == pytest.approx(2.0 * (0.5 * (tokens - 1) + 1.0))
    assert count(cross_entropy(per="sequence").terms[0], [group]) == 2.0
    assert count(dpo().terms[0], Fixed(pairs()).open(site).fixed) == 8


def test_a_reference_that_joins_late_is_the_model_before_the_first_step(student: Path, tmp_path: Path) -> None:
    from fits import digits

    from tutelage.objectives import grpo

    prompts = [e.prompt for e in examples()]
    source = OnPolicy(prompts, max_tokens=6, samples=2, reward=digits)
    settings = FitSettings(lr=1e-2, batch=4, steps=6)
    result = fit(model=student, source=source, objective=grpo(kl=0.1), targets=Reference(), settings=settings, seed=0, out=tmp_path / "o")
    gaps = [e["terms"]["reference_kl"] for e in result.log]
    assert gaps[0] == pytest.approx(0.0, abs=1e-6)
    assert gaps[-1] > 1e-3


def refused(student: Path, out: Path, **changes: Any) -> str:
    """What a fit that cannot be done says; nothing is left behind."""
    asked: dict[str, Any] = {"model": student, "source": Fixed(examples()), "objective": cross_entropy(), "settings": FitSettings(lr=1e-3)}
    with pytest.raises(TutelageError) as told:
        fit(**{**asked, **changes}, seed=0, out=out)
    assert not out.exists()
    return str(told.value)


CLASS = FitSettings(lr=1e-3, head="class", classes=2)
LABELLED = [replace(e, label=i % 2) for i, e in enumerate(examples())]
ROLLOUTS = OnPolicy([e.prompt for e in examples()], max_tokens=4)
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "pairs asked of examples": ({"objective": dpo(), "targets": Reference()}, "compares pairs", "pass Pair records"),
    "examples asked of pairs": ({"source": Fixed(pairs())}, "learn the rejected texts", "over='chosen'"),
    "a class term on the lm head": ({"source": Fixed(LABELLED), "objective": classification()}, "the lm head", "head='class'"),
    "scores on the lm head": ({"source": Fixed(pairs()), "objective": bradley_terry()}, "the lm head", "head='class'"),
    "text on the class head": ({"settings": CLASS}, "the class head", "head='lm'"),
    "no labels": ({"objective": classification(), "settings": CLASS}, "needs a label on every example", "set label"),
    "a label too many": (
        {"source": Fixed([replace(LABELLED[0], label=2)]), "objective": classification(), "settings": CLASS},
        "not one of the classes",
        "set classes",
    ),
    "no labels for kto": ({"objective": kto(), "targets": Reference()}, "needs a label on every example", "set label"),
    "a policy gradient on fixed data": ({"objective": grpo()}, "the rows do not bring", "OnPolicy"),
    "a policy gradient without a reward": (
        {"source": ROLLOUTS, "objective": grpo(), "settings": FitSettings(lr=1e-3, steps=1)},
        "advantages, which the rows do not bring",
        "reward=",
    ),
    "an adapter for modules that are not there": (
        {"settings": FitSettings(lr=1e-3, lora=Lora(targets=("query",)))},
        "LoRA cannot be put on these modules",
        "q_proj",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_together_is_refused_with_the_way_out(student: Path, tmp_path: Path, name: str) -> None:
    changes, what, way_out = WRONG[name]
    said = refused(student, tmp_path / "out", **changes)
    assert what in said
    assert way_out in said.partition("fix:")[2]


def test_hidden_states_of_unequal_width_need_a_projection(student: Path, tmp_path: Path) -> None:
    wide = tiny_checkpoint(tmp_path / "wide", seed=2, width=48)
    said = refused(student, tmp_path / "out", objective=match_hidden_cosine(), targets=Teacher(ref(wide)))
    assert "32 and 48" in said
    assert "match_hidden_mse" in said


def leave_out(rollouts: Sequence[Rollout]) -> list[Rollout]:
    return [r.dropped() for r in rollouts]


def leave_out_most(rollouts: Sequence[Rollout]) -> list[Rollout]:
    return [r if r.number == 0 else r.dropped() for r in rollouts]


def test_windows_with_nothing_in_them_are_counted_and_a_fit_of_nothing_else_is_refused(student: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=1e-3, batch=2, steps=3)
    prompts = [e.prompt for e in examples()]
    said = refused(student, tmp_path / "out", source=OnPolicy(prompts, max_tokens=4, edit=leave_out), settings=settings)
    assert "no window held anything to learn" in said
    source = OnPolicy(prompts, max_tokens=4, edit=leave_out_most)
    result = fit(model=student, source=source, objective=cross_entropy(), settings=settings, seed=0, out=tmp_path / "out")
    assert result.dropped["windows with nothing to learn"] == 2
    assert [e["gradient_norm"] > 0 for e in result.log] == [True, False, False]


def test_nothing_but_a_model_is_ever_replaced(student: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "kept.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, what in (("notes", "not a model"), ("file", "is a file")):
        with pytest.raises(SettingsError, match=what):
            fit(model=student, source=Fixed(examples()), objective=cross_entropy(), settings=FitSettings(lr=1), seed=0, out=tmp_path / name)
    assert (tmp_path / "notes" / "kept.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    with pytest.raises(SettingsError, match="at least 1"):
        OnPolicy([], max_tokens=0)


def test_an_adapter_knows_its_base(student: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=1e-3, lora=Lora(rank=2))
    adapter = tmp_path / "adapter"
    fit(model=student, source=Fixed(examples()), objective=cross_entropy(), settings=settings, seed=0, out=adapter)
    for number, (family, seed, what) in enumerate((("llama", 5, "other weights"), ("qwen3", 0, "does not fit|other weights"))):
        other = tiny_checkpoint(tmp_path / f"other-{number}", family, seed=seed)
        moved = tmp_path / f"moved-{number}"
        shutil.copytree(adapter, moved)
        config = json.loads((moved / "adapter_config.json").read_text())
        (moved / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(other)}))
        with pytest.raises(DataError, match=what):
            open_model(moved)
        (moved / "base.json").unlink()
        if family == "llama":  # nothing says that it is another one
            assert open_model(moved).module is not None
        else:
            with pytest.raises(DataError, match="does not fit"):
                open_model(moved)
