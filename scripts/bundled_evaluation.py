"""What the bundled models can do, measured with a plain batched decoder on held-out questions that no test will ask."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from bundled_tokenizer import CONTEXT_TOKENS, EOS, token_id
from tutelage.prompts.dialects import FOLDS
from tutelage.seeds import stream
from tutelage.tasks.folds_documents import draw_training_question
from tutelage.tasks.folds_notations import WRITERS, notation_of
from tutelage.tasks.folds_world import ARROW, SOURCES, TARGETS, Question, fold


@torch.no_grad()
def decode(
    model: LlamaForCausalLM, tokenizer: Tokenizer, prompts: Sequence[str], max_tokens: int = 40, temperature: float = 0.0, seed: int = 0
) -> list[str]:
    """Completions of `prompts`, in order; greedy at temperature 0. Prompts of equal length share a batch, so nothing is padded."""
    encoded = [tokenizer.encode(p).ids for p in prompts]
    eos = token_id(tokenizer, EOS)
    groups: dict[int, list[int]] = {}
    for index, ids in enumerate(encoded):
        groups.setdefault(len(ids), []).append(index)
    generator = torch.Generator().manual_seed(seed)
    out: list[list[int]] = [[] for _ in prompts]
    for length, members in sorted(groups.items()):
        ids = torch.tensor([encoded[i] for i in members])
        past = None
        live = torch.ones(len(members), dtype=torch.bool)
        for _ in range(min(max_tokens, CONTEXT_TOKENS - length)):
            result = model(input_ids=ids, past_key_values=past, use_cache=True)
            past = result.past_key_values
            logits = result.logits[:, -1]
            if temperature:
                following = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]
            else:
                following = logits.argmax(-1)
            live &= following != eos
            if not live.any():
                break
            for row, index in enumerate(members):
                if live[row]:
                    out[index].append(int(following[row]))
            ids = following[:, None]
    return [tokenizer.decode(o) for o in out]


def answered(text: str) -> str:
    return text.rpartition(ARROW)[2].strip() if ARROW in text else ""


Draw = Callable[[random.Random, str], Question]
"""(stream, skill) -> question: `draw_training_question` while a model is raised, `draw_reserved_question` for what its card says."""


def held_out(skill: str, count: int, seed: int, draw: Draw) -> list[tuple[Question, str]]:
    """Questions of a stream of their own, with their answers."""
    rng = stream(seed, "held out", skill)
    questions = [draw(rng, skill) for _ in range(count)]
    return [(q, (fold(q) or ("",))[-1]) for q in questions]


def accuracy(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    mode: str,
    skills: Sequence[str],
    count: int,
    *,
    draw: Draw = draw_training_question,
    seed: int = 7,
) -> dict[str, float]:
    """Share of right answers per skill. Modes: `plain`, `cue:STYLE` and `shot:STYLE` (one demonstration in that style)."""
    form, _, style = mode.partition(":")
    prompts: list[str] = []
    answers: list[tuple[str, str]] = []
    for skill in skills:
        rng = stream(seed, "demonstrations", skill, style)
        for question, answer in held_out(skill, count, seed, draw):
            if form == "plain":
                prompt = FOLDS.plain.format(question=question.text, description="", answer_format="")
            elif form == "cue":
                prompt = FOLDS.technique.format(question=question.text, technique=style, description="", answer_format="", instruction="")
            else:
                demo = draw_training_question(rng, skill)
                shown = FOLDS.demonstration.format(question=demo.text, rationale=WRITERS[style](demo, rng))
                prompt = FOLDS.shots.format(demonstrations=shown, question=question.text, description="", answer_format="")
            prompts.append(prompt)
            answers.append((skill, answer))
    model.eval()
    texts = decode(model, tokenizer, prompts)
    model.train()
    right = [answered(t) == a for t, (_, a) in zip(texts, answers, strict=True)]
    return {s: sum(r for r, (k, _) in zip(right, answers, strict=True) if k == s) / count for s in skills}


def plain_styles(
    model: LlamaForCausalLM, tokenizer: Tokenizer, count: int, *, draw: Draw = draw_training_question, seed: int = 7
) -> dict[str, float]:
    """Shares of styles in what the model writes at temperature 1 under the plain prompt on target skills."""
    prompts = [
        FOLDS.plain.format(question=q.text, description="", answer_format="") for s in TARGETS for q, _ in held_out(s, count, seed, draw)
    ]
    model.eval()
    styles = [notation_of(t) for t in decode(model, tokenizer, prompts, temperature=1.0, seed=seed)]
    model.train()
    return {s: styles.count(s) / len(styles) for s in sorted(set(styles))}


MODES = ("plain", "cue:steps", "shot:steps", "shot:terse", "shot:posthoc")


def evaluate(
    model: LlamaForCausalLM, tokenizer: Tokenizer, count: int, draw: Draw = draw_training_question, modes: Sequence[str] = MODES
) -> dict[str, object]:
    targets = {m: accuracy(model, tokenizer, m, TARGETS, count, draw=draw) for m in modes}
    return {
        "targets": targets,
        "sources": {"shot:steps": accuracy(model, tokenizer, "shot:steps", SOURCES, max(8, count // 3), draw=draw)},
        "plain_styles": plain_styles(model, tokenizer, count, draw=draw),
    }


def mean(values: dict[str, float]) -> float:
    return math.fsum(values.values()) / len(values)
