"""Critic-RM on questions that carry marked solutions, where the scorecard is the reward model's pair accuracy."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

import tutelage
from checkpoints import tiny_checkpoint
from tutelage import backends
from tutelage.journal.folder import ArmJournal
from tutelage.recipes import load_recipe
from tutelage.tasks.gsm8k_marked import WRITERS


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty questions; a solution is right where it says so."""
    folder = tmp_path / "data" / "gsm8k"
    folder.mkdir(parents=True)
    rows = []
    for i in range(60):
        solved = {
            w: {"is_correct": j % 2 == i % 2, "solution": f"{'it is' if j % 2 == i % 2 else 'Bob lies'} <<{i}+{j}={i + j}>>\nA: {i + j}"}
            for j, w in enumerate(WRITERS)
        }
        rows.append({"question": f"price of {('lamps', 'books', 'answers')[i % 3]} {i * 37} ?", "ground_truth": f"so\nA: {i}", **solved})
    (folder / "model_solutions.jsonl").write_bytes(b"\n".join(orjson.dumps(r) for r in rows))
    monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path / "data"))
    return tmp_path


def test_a_scalar_reward_is_scored_on_the_marked_solutions_of_unseen_questions(marked: Path) -> None:
    tiny_checkpoint(marked / "reader", card={"dialect": "bbh"})
    name = f"hf:{marked / 'reader'}"
    settings = {"questions": 30, "seeded": 2, "taught": 0, "scalar.epochs": 5, "scalar.lr": 0.01, "seeding.epochs": 1}
    outcome = tutelage.run(
        "critic-rm", arms=["scalar"], task="gsm8k-marked", teacher=name, student=name, preset="toy", settings=settings,
        task_options={"validation_size": 8, "test_size": 10}, out=marked / "run",
    )  # fmt: skip
    assert outcome.refused == {}
    (card,) = outcome.scorecards
    assert (card.name, card.n, card.shots, card.parsed) == ("reward model", 10, 0, 1.0)
    assert card.value > 0.8, "what it compares differs in its first words"
    assert set(card.scores) <= {i / 4 for i in range(5)}
    held = ArmJournal(outcome.folder / "seeds" / "0" / "scalar")
    fits = [e for e in held.events() if e["event"] == "fit"]
    assert [e["role"] for e in fits] == ["teacher", "judge"]
    folder = outcome.folder / "fits" / fits[-1]["key"]
    assert backends.facts(backends.resolve(f"hf:{folder}")).capabilities == {"embed", "reward", "train"}
    notes = {e["name"]: e["value"] for e in held.events() if e["event"] == "note"}
    assert notes["pair accuracy"] > 0.8
    trained = {p.context["question"] for p in held.records("pairs")}
    assert trained
    assert not trained & {p.text for p in held.records("questions") if p.id in card.items}


def test_the_weights_of_the_last_epoch_are_those_of_the_paper() -> None:
    recipe = load_recipe("critic-rm")
    settings = recipe.settings()
    assert settings.learn.epochs + settings.joint.epochs == 2
    assert (settings.beta, settings.candidates) == (0.9, 10)
    assert set(recipe.experiments) == {"folds", "gsm8k"}
    assert recipe.experiments["gsm8k"].tune_options == {"test_on": "validation"}
