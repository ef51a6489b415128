"""How the second bundled pair is raised: its tokenizer, its documents, runs that were cut short; and what the shipped weights can do."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from pretrain_bbh import (
    BUILDS,
    QUESTION_SHARE,
    QUESTION_WEIGHT,
    Build,
    batches,
    build_tokenizer,
    decode,
    draw_document,
    draw_training_question,
    held_out,
    raise_model,
)
from tutelage import backends, bundled
from tutelage.capabilities import Sampling
from tutelage.prompts.dialects import BBH
from tutelage.records import Prompt
from tutelage.seeds import stream
from tutelage.tasks import bbh_world as world
from tutelage.tasks.bbhlike import BUCKETS

WEB, BOOLEAN, NAVIGATE, TRACKING, COUNTING = world.SKILLS
TINY = Build(width=16, layers=1, heads=2, inner=24, steps=4, documents=3, skills={BOOLEAN: 1.0, COUNTING: 1.0}, two=0.5)


@cache
def tokenizer() -> Tokenizer:
    return build_tokenizer()


@cache
def model(name: str) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(bundled.folder(name), dtype=torch.float32).eval()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("skill", world.SKILLS)
def test_nothing_is_lost_and_what_steps_align_on_is_one_token(skill: str) -> None:
    for question in held_out(skill, 40):
        solution = world.write_steps(question)
        for text in (question.text, solution, BBH.plain.format(question=question.text)):
            assert tokenizer().decode(tokenizer().encode(text).ids) == text
        whole = f"{BBH.plain.format(question=question.text)} {solution}"
        apart = tokenizer().encode(BBH.plain.format(question=question.text)).ids + tokenizer().encode(solution).ids
        assert tokenizer().encode(whole).ids == apart
        for state in world.states(question):
            words = state.replace(",", " ,").split()
            assert len(tokenizer().encode(state).ids) == len(words)


def test_any_text_survives() -> None:
    for text in ("", "naïve 漢字 🙂", "a  b\n\n c\t{}", "Ünal's\n(A) x"):
        assert tokenizer().decode(tokenizer().encode(text).ids) == text


def test_documents_hold_what_may_be_learned_and_nothing_else() -> None:
    for name, build in BUILDS.items():
        rng = stream(3, "documents", name)
        questions = [draw_training_question(rng, skill) for skill in build.skills for _ in range(200)]
        assert not {world.bucket(q.text) for q in questions} & set(BUCKETS["test"])
        assert not any(world.is_published(q.text) for q in questions)
    assert set(BUILDS["student"].skills) == {BOOLEAN, NAVIGATE, COUNTING}
    assert set(BUILDS["teacher"].skills) == set(world.SKILLS)


def test_solutions_count_fully_and_questions_a_little() -> None:
    rng = stream(1, "weights")
    asked = total = 0.0
    for _ in range(400):
        ids, weights = draw_document(rng, tokenizer(), TINY)
        assert len(ids) == len(weights)
        assert ids[-1] == tokenizer().token_to_id("<eos>")
        text = tokenizer().decode(ids, skip_special_tokens=False)
        solved = sum(len(tokenizer().encode(f"{part.partition(chr(10) + 'A: ')[2]}").ids) for part in _problems(text))
        assert sum(w == 1.0 for w in weights) == solved
        asked += sum(w for w in weights if w != 1.0)
        total += sum(w != 1.0 for w in weights)
    assert asked / total == pytest.approx(QUESTION_WEIGHT, rel=0.15)
    assert QUESTION_WEIGHT / QUESTION_SHARE < 1


def _problems(text: str) -> list[str]:
    """The documents' problems, the first without the blank line behind its solution, which belongs to the next question."""
    return text.split("\n\nQ: ")


def test_batches_lose_no_document_and_pad_little() -> None:
    rng = stream(2, "batches")
    documents = [draw_document(rng, tokenizer(), BUILDS["teacher"]) for _ in range(40)]
    out = batches(documents)
    assert sorted(len(d[0]) for b in out for d in b) == sorted(len(d[0]) for d in documents)
    padded = sum(len(b) * len(b[0][0]) for b in out)
    assert padded <= 1.35 * sum(len(d[0]) for d in documents)


def test_a_run_that_was_cut_short_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    raise_model("tiny", TINY, 5, tmp_path / "whole", None, resume=False, save_every=2, count=2)
    raise_model("tiny", TINY, 5, tmp_path / "cut", None, resume=False, save_every=2, count=2, stop=3)
    assert not (tmp_path / "cut" / "bbh_tiny" / "model.safetensors").exists()
    raise_model("tiny", TINY, 5, tmp_path / "cut", None, resume=True, save_every=2, count=2)
    one, two = ((tmp_path / n / "bbh_tiny" / "model.safetensors").read_bytes() for n in ("whole", "cut"))
    assert one == two
    rows = [json.loads(line) for line in (tmp_path / "cut" / "bbh_tiny" / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r["event"] == "start"] == [0, 2]
    assert rows[-1]["sha256"] == hashlib.sha256(two).hexdigest()
    opened = backends.resolve(f"hf:{tmp_path / 'whole' / 'bbh_tiny'}")
    assert backends.facts(opened).dialect == "bbh"


# --- the shipped weights ----------------------------------------------------------------------------------------------------------


def test_weights_log_and_card_agree() -> None:
    for name in bundled.BBH_NAMES:
        folder = bundled.folder(name)
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert rows[-1]["sha256"] == digest
        card = (folder / "README.md").read_text()
        assert f"`{digest}`" in card
        assert f"{model(name).num_parameters():,} parameters" in card
        for skill in BUILDS[name.removeprefix("bbh-")].skills:
            found = rows[-1][skill]
            assert f"| {skill} | {100 * found['answers']:.1f} | {100 * found['traces']:.1f} |" in card
        assert json.loads((folder / "config.json").read_text())["tutelage"] == {"dialect": "bbh", "licence": "Apache-2.0"}
        assert Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab() == tokenizer().get_vocab()


def shares(name: str, skill: str, count: int) -> tuple[float, float]:
    """Right answers and right solutions on held-out generated questions other than those of the card."""
    questions = held_out(skill, count, seed=31)
    texts = decode(model(name), tokenizer(), [BBH.plain.format(question=q.text) for q in questions])
    right = sum(t.rpartition(world.ANSWER)[2].strip() == world.solve(q.text, skill) for t, q in zip(texts, questions, strict=True))
    sound = sum(not world.trace_errors(q.text, t, skill) for t, q in zip(texts, questions, strict=True))
    return right / count, sound / count


def test_the_teacher_answers_held_out_questions() -> None:
    for skill in (WEB, BOOLEAN, TRACKING, COUNTING):
        answers, sound = shares("bbh-teacher", skill, 24)
        assert answers >= 0.85
        assert sound >= 0.75


def test_the_student_lacks_what_it_is_to_be_taught() -> None:
    assert shares("bbh-student", BOOLEAN, 32)[0] >= 0.75
    for skill in (WEB, TRACKING):
        answers, sound = shares("bbh-student", skill, 16)
        assert answers <= 0.6
        assert sound == 0.0


def test_the_pair_is_opened_by_name_and_asked_through_the_back_end() -> None:
    ref = backends.resolve("bundled:bbh-teacher")
    question = held_out(BOOLEAN, 1, seed=4)[0]
    prompt = Prompt.user(BBH.plain.format(question=question.text), kind="solve.plain")
    reply = backends.open_backend(ref).generate([prompt], Sampling(max_tokens=40))[0][0].text.strip()
    assert reply == decode(model("bbh-teacher"), tokenizer(), [prompt.text])[0].strip()
    assert backends.facts(ref).dialect == "bbh"
    assert bundled.checkpoints("bbh-student") == ()
