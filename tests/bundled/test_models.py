"""The shipped weights do what their cards say, and the regime that the demonstration rests on holds."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import re
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from bundled_evaluation import accuracy, decode, mean, plain_styles
from tutelage import bundled
from tutelage.errors import SettingsError
from tutelage.tasks.folds_documents import draw_reserved_question
from tutelage.tasks.folds_world import TARGETS, draw_question, write_steps, write_terse

COUNT = 16
"""Questions per skill."""


@cache
def model(name: str) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(bundled.folder(name), dtype=torch.float32).eval()


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(bundled.folder("student") / "tokenizer.json"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def score(name: str, mode: str) -> dict[str, float]:
    return accuracy(model(name), tokenizer(), mode, TARGETS, COUNT, draw=draw_reserved_question, seed=21)


def test_folders_are_found_by_name() -> None:
    with pytest.raises(SettingsError, match="did you mean 'teacher'"):
        bundled.folder("teecher")
    assert bundled.checkpoints("teacher") == ()
    steps = bundled.checkpoints("student")
    assert len(steps) == 6
    assert list(steps) == sorted(steps)
    for folder in steps:
        assert (folder / "model.safetensors").is_file()


def test_weights_log_and_card_agree() -> None:
    for name in bundled.NAMES:
        folder = bundled.folder(name)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert rows[-1]["sha256"] == digest
        card = (folder / "README.md").read_text()
        assert f"`{digest}`" in card
        assert f"{rows[0]['parameters']:,} parameters" in card
        assert model(name).num_parameters() == rows[0]["parameters"]
        config = json.loads((folder / "config.json").read_text())
        assert config["tutelage"] == {"dialect": "folds", "licence": "Apache-2.0"}
        table = re.search(r"after one demonstration in steps \|.*\| ([\d.]+) \|", card)
        assert table is not None
        assert float(table[1]) == pytest.approx(100 * mean(rows[-1]["targets"]["shot:steps"]), abs=0.06)


def test_the_teacher_solves_every_target_skill_in_steps() -> None:
    by_skill = score("teacher", "cue:steps")
    assert set(by_skill) == set(TARGETS)
    assert min(by_skill.values()) >= 0.9
    assert mean(by_skill) >= 0.95


def test_unasked_the_teacher_writes_several_styles() -> None:
    shares = plain_styles(model("teacher"), tokenizer(), COUNT * 2, draw=draw_reserved_question, seed=21)
    assert 0.15 <= shares["steps"] <= 0.45
    assert shares["terse"] >= 0.15
    assert shares["posthoc"] >= 0.15
    assert shares.get("other", 0.0) <= 0.03


def test_the_student_learns_from_steps_and_from_nothing_else() -> None:
    steps, terse, posthoc, plain = (mean(score("student", m)) for m in ("shot:steps", "shot:terse", "shot:posthoc", "plain"))
    assert 0.55 <= steps <= 0.85
    assert max(terse, posthoc, plain) <= 0.4
    shares = plain_styles(model("student"), tokenizer(), COUNT, draw=draw_reserved_question, seed=21)
    assert shares.get("steps", 0.0) <= 0.25


def test_checkpoints_are_of_different_ability() -> None:
    means = []
    for folder in bundled.checkpoints("student"):
        early = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        means.append(mean(accuracy(early, tokenizer(), "shot:steps", TARGETS, 10, draw=draw_reserved_question, seed=21)))
    assert means[0] <= 0.35
    assert means[-1] >= 0.45
    assert max(means) <= mean(score("student", "shot:steps")) + 0.1


def byte_mass(network: LlamaForCausalLM, prompts: list[str]) -> float:
    """Mean probability of fallback bytes over the tokens of sampled completions."""
    first, last = (tokenizer().token_to_id(t) for t in ("<0x00>", "<0xFF>"))
    texts = decode(network, tokenizer(), prompts, temperature=1.0, seed=3)
    total, count = 0.0, 0
    with torch.no_grad():
        for prompt, text in zip(prompts, texts, strict=True):
            head, tail = tokenizer().encode(prompt).ids, tokenizer().encode(text).ids
            mass = network(torch.tensor([head + tail])).logits[0, len(head) - 1 :].softmax(-1)[:, first : last + 1].sum(-1)
            total, count = total + float(mass.sum()), count + len(mass)
    return total / count


def aligned(network: LlamaForCausalLM, questions: list[tuple[str, str, str]], steps: int) -> LlamaForCausalLM:
    """A copy of `network` pushed towards the second and away from the third of each (prompt, chosen, rejected)."""
    eos = tokenizer().token_to_id("<eos>")

    def log_probability(net: LlamaForCausalLM, prompt: str, text: str) -> torch.Tensor:
        head, tail = tokenizer().encode(prompt).ids, [*tokenizer().encode(text).ids, eos]
        ids = torch.tensor([head + tail])
        nats = net(ids).logits[0, len(head) - 1 : -1].log_softmax(-1)
        return nats.gather(1, ids[0, len(head) :, None]).sum()

    moved = copy.deepcopy(network).train()
    optimiser = torch.optim.AdamW(moved.parameters(), lr=5e-4, weight_decay=0.0)
    for step in range(steps):
        loss = torch.zeros(())
        for prompt, chosen, rejected in questions[6 * step % len(questions) :][:6]:
            with torch.no_grad():
                before = log_probability(network, prompt, chosen) - log_probability(network, prompt, rejected)
            after = log_probability(moved, prompt, chosen) - log_probability(moved, prompt, rejected)
            loss = loss - F.logsigmoid(0.1 * (after - before)) / 6
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return moved.eval()


def test_sampled_text_holds_no_bytes_before_and_after_alignment() -> None:
    rng = random.Random(5)
    questions = [draw_question(rng, TARGETS[i % 4]) for i in range(48)]
    prompts = [f"Q : {q.text}\nA :" for q in questions]
    lists = [f"new {q.skill} :\nQ : {q.text}\n" for q in questions[:8]]
    teacher = model("teacher")
    assert byte_mass(teacher, prompts) < 0.001
    assert byte_mass(teacher, lists) < 0.001
    pairs = [(p, write_steps(q, rng), write_terse(q, rng)) for p, q in zip(prompts, questions, strict=True)]
    drifted = aligned(teacher, pairs, steps=10)
    texts = decode(drifted, tokenizer(), prompts, temperature=1.0, seed=3)
    assert sum(t.startswith("=>") for t in texts) < sum(
        t.startswith("=>") for t in decode(teacher, tokenizer(), prompts, temperature=1.0, seed=3)
    )
    assert byte_mass(drifted, prompts) < 0.001
