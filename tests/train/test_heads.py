"""Heads other than the language model's, on encoders and on causal models."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from checkpoints import tiny_checkpoint, tiny_encoder
from tutelage import backends
from tutelage.errors import CapabilityError, DataError, SettingsError
from tutelage.objectives import classification, cross_entropy, supervised_contrast
from tutelage.records import Example, Problem, Prompt
from tutelage.tasks.labels import label_examples
from tutelage.train import FitSettings, Fixed, Lora
from tutelage.train.batch import Batch
from tutelage.train.classes import class_log_probs
from tutelage.train.feeds import group_of
from tutelage.train.loop import fit
from tutelage.train.network import alike
from tutelage.train.step import Measured
from windows import Opened, off, opened_site

LABELS = ("no", "yes")
PROBLEMS = [Problem(text=f"{'ja' if i % 2 else 'nee'} Bob{' and Alice' * (i % 4)} {i}", answer=LABELS[i % 2]) for i in range(16)]
EXAMPLES = label_examples(PROBLEMS, LABELS)
CLASSES = FitSettings(lr=5e-3, batch=8, epochs=12, head="class", labels=LABELS)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("m") / "encoder")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Counts its positions from 2, other than BERT."""
    import transformers

    folder = tiny_encoder(tmp_path_factory.mktemp("m") / "roberta")
    config = transformers.RobertaConfig(
        vocab_size=transformers.AutoConfig.from_pretrained(folder).vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64, pad_token_id=1, type_vocab_size=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])
def test_a_class_head_learns_names_its_classes_and_answers_as_it_was_trained(
    kind: str, encoder: Path, roberta: Path, tmp_path: Path
) -> None:
    model = {"bert": encoder, "roberta": roberta}.get(kind) or tiny_checkpoint(tmp_path / "llama")
    result = fit(model=model, source=Fixed(EXAMPLES), objective=classification(), settings=CLASSES, seed=0, out=tmp_path / "out")
    assert result.log[-1]["loss"] < 0.25 < 0.5 < result.log[0]["loss"]
    ref = backends.resolve(f"hf:{tmp_path / 'out'}")
    facts = backends.facts(ref)
    assert facts.labels == LABELS
    assert facts.capabilities == {"classify", "embed", "train"}
    rows = backends.open_backend(ref).classify([p.text for p in PROBLEMS])
    assert [LABELS[row.index(max(row))] for row in rows] == [p.answer for p in PROBLEMS]
    nats = -sum(math.log(row[LABELS.index(p.answer or "")]) for row, p in zip(rows, PROBLEMS, strict=True)) / len(rows)
    still = replace(CLASSES, epochs=1, lr=1e-9, batch=16)
    again = fit(model=tmp_path / "out", source=Fixed(EXAMPLES), objective=classification(), settings=still, seed=0, out=tmp_path / "more")
    # Training goes on from the head that is there; without dropout its loss is that of the answers.
    assert again.log[0]["loss"] == pytest.approx(nats, rel=1e-4) if kind == "llama" else again.log[0]["loss"] < 0.4


@pytest.mark.parametrize("name", ["bert", "roberta"])
@pytest.mark.parametrize("head", ["class", "embed"])
def test_rows_read_together_are_as_if_read_alone(name: str, head: str, encoder: Path, roberta: Path) -> None:
    model = {"bert": encoder, "roberta": roberta}[name]
    changes = {"head": "class", "classes": 2} if head == "class" else {"head": "embed"}
    objective = classification() if head == "class" else supervised_contrast()
    opened = Opened(model, EXAMPLES, objective, moved=1.0, **changes)
    _, whole = opened.value_and_gradient()
    if head == "class":
        for size in (1, 2, 4):
            assert off(opened.value_and_gradient(size=size)[1], whole) < 1e-5
    backend = backends.open_backend(backends.resolve(f"hf:{model}"))
    measured = Measured(opened.network, Batch(opened.groups, opened.network.device), None, tile_bytes=1 << 20)
    if head == "embed":
        alone = torch.tensor(backend.embed([e.prompt.text for e in EXAMPLES]))
        torch.testing.assert_close(measured.vectors.detach(), alone, rtol=1e-4, atol=1e-5)
    else:
        assert measured.class_logits.shape == (len(EXAMPLES), 2)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_source_can_ask_the_live_classifier(kind: str, encoder: Path, tmp_path: Path) -> None:
    model = encoder if kind == "bert" else tiny_checkpoint(tmp_path / "llama")
    settings = FitSettings(lr=1e-3, head="class", labels=LABELS, micro_tokens=8)
    site = opened_site(model, settings)
    groups = [g for e in EXAMPLES if (g := group_of(e, site)) is not None]
    together, alone = class_log_probs(groups, site), torch.cat([class_log_probs([g], site) for g in groups])
    assert together.shape == (len(EXAMPLES), 2)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.exp().sum(-1), torch.ones(len(EXAMPLES)))
    assert class_log_probs([], site).shape == (0, 2)


def test_the_embed_head_pulls_a_label_together(encoder: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=3e-3, batch=8, epochs=10, head="embed")
    result = fit(model=encoder, source=Fixed(EXAMPLES), objective=supervised_contrast(), settings=settings, seed=0, out=tmp_path / "out")
    assert result.log[-1]["loss"] < result.log[0]["loss"]

    def spread(folder: Path) -> float:
        """Mean cosine inside a label minus that across."""
        rows = torch.nn.functional.normalize(
            torch.tensor(backends.open_backend(backends.resolve(f"hf:{folder}")).embed([p.text for p in PROBLEMS])), dim=-1
        )
        same = torch.tensor([[p.answer == q.answer for q in PROBLEMS] for p in PROBLEMS])
        cosines = rows @ rows.T
        return float(cosines[same].mean() - cosines[~same].mean())

    assert backends.facts(backends.resolve(f"hf:{tmp_path / 'out'}")).capabilities == {"embed", "train"}
    assert spread(tmp_path / "out") > spread(encoder) + 0.2


def test_a_causal_model_learns_to_embed_and_stays_a_language_model(tmp_path: Path) -> None:
    model = tiny_checkpoint(tmp_path / "llama")
    settings = FitSettings(lr=1e-3, batch=8, epochs=2, head="embed")
    fit(model=model, source=Fixed(EXAMPLES), objective=supervised_contrast(), settings=settings, seed=0, out=tmp_path / "out")
    assert "generate" in backends.facts(backends.resolve(f"hf:{tmp_path / 'out'}")).capabilities


def test_the_same_seed_gives_the_same_head_and_another_seed_another(encoder: Path, tmp_path: Path) -> None:
    def digest(seed: int, name: str) -> str:
        settings = replace(CLASSES, epochs=1)
        fit(model=encoder, source=Fixed(EXAMPLES), objective=classification(), settings=settings, seed=seed, out=tmp_path / name)
        return backends.resolve(f"hf:{tmp_path / name}").digest

    assert digest(0, "a") == digest(0, "b") != digest(1, "c")


def test_what_an_encoder_cannot_be_taught_is_said_at_once(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="no causal language model"):
        fit(model=encoder, source=Fixed(EXAMPLES), objective=cross_entropy(), settings=FitSettings(lr=1e-3), seed=0, out=tmp_path / "out")
    with pytest.raises(SettingsError, match="disagree"):
        FitSettings(lr=1e-3, head="class", labels=LABELS, classes=3)
    with pytest.raises(SettingsError, match="reads every text alone"):
        FitSettings(lr=1e-3, head="embed", layout="shared")


def test_adapters_on_an_encoder(encoder: Path, tmp_path: Path) -> None:
    settings = FitSettings(lr=3e-3, batch=8, epochs=2, head="embed", lora=Lora(rank=2))
    fit(model=encoder, source=Fixed(EXAMPLES), objective=supervised_contrast(), settings=settings, seed=0, out=tmp_path / "out")
    before, after = (backends.open_backend(backends.resolve(f"hf:{f}")).embed(["ja Bob"])[0] for f in (encoder, tmp_path / "out"))
    assert before != after


def test_rows_of_like_length_go_together() -> None:
    lengths = [3, 20, 4, 5, 22, 9]
    bunches = alike(lengths)
    assert sorted(i for bunch in bunches for i in bunch) == list(range(6))
    assert bunches == [[0, 2], [3], [5], [1, 4]]
    assert alike([7]) == [[0]]


def test_examples_of_labels_carry_the_bare_question() -> None:
    assert EXAMPLES[1] == Example(prompt=Prompt.user(PROBLEMS[1].text), completion="", label=1)
    with pytest.raises(DataError, match="not among the labels"):
        label_examples([replace(PROBLEMS[0], answer="perhaps")], LABELS)
