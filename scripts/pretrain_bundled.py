"""Raise the bundled teacher and student from nothing: the tokenizer, both models, their checkpoints, cards and logs.

    python scripts/pretrain_bundled.py --which both --out DIR            # what the package ships
    python scripts/pretrain_bundled.py --which student --lineage 3 --out DIR   # a fresh student: other start, other data

Budgets are steps, never seconds, and a run takes one thread: the same lineage gives the same weights on the same kind of CPU.
The student is raised in two stages: first on everything with few target questions, then with many, until it is partly skilled
(one-shot with a demonstration in steps reaches `PARTLY`); that is where what a student prefers carries a signal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, normalizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tutelage.prompts.dialects import FOLDS
from tutelage.seeds import derive, stream
from tutelage.tasks.folds_documents import Diet, Piece, draw_document, draw_training_question
from tutelage.tasks.folds_world import ARROW, SOURCES, STYLES, TARGETS, Question, fold, style_of, words

ROW_TOKENS = 256
ROWS = 8
EOS, PAD = "<eos>", "<pad>"
PARTLY = 0.68
"""One-shot accuracy on target skills at which the student's second stage ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How one model is made."""

    width: int
    layers: int
    heads: int
    inner: int
    steps: int
    diet: Diet
    more_steps: int = 0
    """Upper bound of the second stage."""
    more_diet: Diet | None = None
    checkpoints: tuple[int, ...] = ()
    """Steps of the first stage whose weights are kept."""
    muon_lr: float = 6e-3
    adam_lr: float = 3.6e-3
    decay: float = 0.4
    """Share of the steps at the end over which both rates fall to zero in a line."""


TEACHER = Build(
    width=96,
    layers=4,
    heads=4,
    inner=256,
    steps=1600,
    diet=Diet(
        target_share=0.6,
        plain={"steps": 0.29, "terse": 0.37, "posthoc": 0.34},
        shown={"steps": 0.55, "terse": 0.2, "posthoc": 0.2, "maybe": 0.05},
        cued={"steps": 0.55, "terse": 0.15, "posthoc": 0.15, "maybe": 0.15},
    ),
)
_STUDENT_STYLES = {
    "plain": {"steps": 0.1, "terse": 0.6, "posthoc": 0.3},
    "shown": {"steps": 0.6, "terse": 0.2, "posthoc": 0.2},
    "cued": {"steps": 0.6, "terse": 0.2, "posthoc": 0.2},
}
STUDENT = Build(
    width=64,
    layers=3,
    heads=4,
    inner=176,
    steps=800,
    diet=Diet(target_share=0.1, **_STUDENT_STYLES),
    more_steps=400,
    more_diet=Diet(target_share=0.5, **_STUDENT_STYLES),
    checkpoints=(200, 400, 600, 800),
)
BUILDS = {"teacher": TEACHER, "student": STUDENT}


# --- tokenizer --------------------------------------------------------------------------------------------------------------------


def build_tokenizer() -> Tokenizer:
    """Whole words of the world as single tokens, single bytes for all else, nothing lost on the way.

    A word token carries the space in front of it. So that a word at the start of a line is the same token, lines get a space in front
    when encoding, which decoding takes away again. A text tokenized in two parts, cut in front of a space, gives the ids of the whole.
    """
    pieces = [PAD, EOS, *(f"<0x{b:02X}>" for b in range(256)), "\n", *(f" {w}" for w in words())]
    # Every piece costs the same, so the segmentation with the fewest pieces wins; bytes come in only where no piece fits.
    tokenizer = Tokenizer(models.Unigram([(p, -1.0) for p in pieces], unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Prepend(" "),
            normalizers.Replace(Regex(r"\A \n"), "\n"),
            normalizers.Replace(Regex(r"\n(?=[^\n])"), "\n "),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([PAD, EOS])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": ROW_TOKENS,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


# --- rows -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One row of packed documents: ids, position within the document, document number (-1 for padding), weight as a target."""

    ids: list[int]
    positions: list[int]
    documents: list[int]
    weights: list[float]


def document_ids(tokenizer: Tokenizer, pieces: Sequence[Piece], eos: int) -> tuple[list[int], list[float]]:
    ids: list[int] = []
    weights: list[float] = []
    for piece in pieces:
        part = tokenizer.encode(piece.text).ids
        weight = [piece.weight] * len(part)
        if piece.first is not None:
            weight[0] = piece.first
        if piece.end:
            part, weight = [*part, eos], [*weight, piece.weight]
        ids += part
        weights += weight
    return ids, weights


def rows(tokenizer: Tokenizer, diet: Diet, rng: random.Random) -> Iterator[Row]:
    """Rows without end, each packed best-fit from a pool of waiting documents."""
    eos, pad = tokenizer.token_to_id(EOS), tokenizer.token_to_id(PAD)
    pool: list[tuple[list[int], list[float]]] = []
    while True:
        row = Row([], [], [], [])
        number = 0
        while True:
            while len(pool) < 48:
                document = document_ids(tokenizer, draw_document(rng, diet), eos)
                if len(document[0]) <= ROW_TOKENS:
                    pool.append(document)
            room = ROW_TOKENS - len(row.ids)
            fitting = [i for i, d in enumerate(pool) if len(d[0]) <= room]
            if not fitting:
                break
            # The oldest first while there is room for anything, so that long documents do not wait forever.
            index = fitting[0] if room > 160 else max(fitting, key=lambda i: len(pool[i][0]))
            ids, weights = pool.pop(index)
            row.ids.extend(ids)
            row.positions.extend(range(len(ids)))
            row.documents.extend([number] * len(ids))
            row.weights.extend([0.0, *weights[1:]])
            number += 1
        spare = ROW_TOKENS - len(row.ids)
        row.ids.extend([pad] * spare)
        row.positions.extend([0] * spare)
        row.documents.extend([-1] * spare)
        row.weights.extend([0.0] * spare)
        yield row


def mask_of(documents: Tensor) -> Tensor:
    """(rows, 1, time, time), true where a token may look: back within its own document; padding sees itself."""
    same = documents[:, :, None] == documents[:, None, :]
    causal = torch.ones(documents.shape[1], documents.shape[1], dtype=torch.bool).tril()
    return (same & causal)[:, None]


# --- training ---------------------------------------------------------------------------------------------------------------------


def new_model(build: Build, tokenizer: Tokenizer, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=build.width,
        intermediate_size=build.inner,
        num_hidden_layers=build.layers,
        num_attention_heads=build.heads,
        num_key_value_heads=build.heads,
        max_position_embeddings=ROW_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(EOS),
        pad_token_id=tokenizer.token_to_id(PAD),
        rms_norm_eps=1e-5,
        attention_dropout=0.0,
    )
    config._attn_implementation = "sdpa"
    return LlamaForCausalLM(config).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is replaced by the nearest orthogonal one (Jordan et al. 2024, five Newton-Schulz steps), scaled to the
    size of an AdamW update (Liu et al. 2025). In float32 and with equal shapes stacked: torch's own works in bfloat16 one matrix at a
    time, which on CPUs takes longer than the model's forward and backward pass together.
    """

    def __init__(self, matrices: Sequence[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for matrix in group["params"]:
                shapes.setdefault(tuple(matrix.shape), []).append(matrix)
            for (height, width), matrices in shapes.items():
                moved: list[Tensor] = []
                for matrix in matrices:
                    if matrix.grad is None:
                        raise ValueError("a matrix has no gradient")
                    state = self.state[matrix]
                    mean = state.setdefault("mean", torch.zeros_like(matrix))
                    mean.lerp_(matrix.grad, 1 - group["momentum"])
                    moved.append(matrix.grad.lerp(mean, group["momentum"]))
                change = orthogonal(torch.stack(moved))
                scale = group["lr"] * 0.2 * math.sqrt(max(height, width))
                for matrix, part in zip(matrices, change, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(part, alpha=-scale)


def orthogonal(x: Tensor, steps: int = 5) -> Tensor:
    """(n, height, width) -> each matrix with its singular values brought near one."""
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.transpose(1, 2) if tall else x


def optimisers(model: LlamaForCausalLM, build: Build) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, lr=build.muon_lr),
        torch.optim.AdamW(rest, lr=build.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate(step: int, steps: int, decay: float, warm: int = 30) -> float:
    """Share of the full learning rate at `step` (counted from 0): a short rise, a plateau, a line to zero."""
    return min(1.0, (step + 1) / warm, (steps - step) / max(1.0, decay * steps))


def take_step(
    model: LlamaForCausalLM, opts: Sequence[torch.optim.Optimizer], batch: Sequence[Row], bases: Sequence[float], share: float
) -> tuple[float, int]:
    ids = torch.tensor([r.ids for r in batch])
    positions = torch.tensor([r.positions for r in batch])
    documents = torch.tensor([r.documents for r in batch])
    weights = torch.tensor([r.weights for r in batch])[:, 1:]
    logits = model(input_ids=ids, position_ids=positions, attention_mask=mask_of(documents), use_cache=False).logits[:, :-1]
    nats = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view_as(weights)
    loss = (nats * weights).sum() / weights.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt, base in zip(opts, bases, strict=True):
        for group in opt.param_groups:
            group["lr"] = base * share
        opt.step()
        opt.zero_grad(set_to_none=True)
    return float(loss.detach()), int((documents >= 0).sum())


# --- evaluation -------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def decode(
    model: LlamaForCausalLM, tokenizer: Tokenizer, prompts: Sequence[str], max_tokens: int = 40, temperature: float = 0.0, seed: int = 0
) -> list[str]:
    """Completions of `prompts`, in order; greedy at temperature 0. Prompts of equal length share a batch, so nothing is padded."""
    encoded = [tokenizer.encode(p).ids for p in prompts]
    eos = tokenizer.token_to_id(EOS)
    groups: dict[int, list[int]] = {}
    for index, ids in enumerate(encoded):
        groups.setdefault(len(ids), []).append(index)
    generator = torch.Generator().manual_seed(seed)
    out: list[list[int]] = [[] for _ in prompts]
    for length, members in sorted(groups.items()):
        ids = torch.tensor([encoded[i] for i in members])
        past = None
        live = torch.ones(len(members), dtype=torch.bool)
        for _ in range(min(max_tokens, ROW_TOKENS - length)):
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


def held_out(skill: str, count: int, seed: int) -> list[tuple[Question, str]]:
    """Questions of a stream that training does not use, with their answers."""
    rng = stream(seed, "held out", skill)
    questions = [draw_training_question(rng, skill) for _ in range(count)]
    return [(q, (fold(q) or ("",))[-1]) for q in questions]


def accuracy(
    model: LlamaForCausalLM, tokenizer: Tokenizer, mode: str, skills: Sequence[str], count: int, seed: int = 7
) -> dict[str, float]:
    """Share of right answers per skill. Modes: `plain`, `cue:STYLE` and `shot:STYLE` (one demonstration in that style)."""
    form, _, style = mode.partition(":")
    prompts: list[str] = []
    answers: list[tuple[str, str]] = []
    for skill in skills:
        rng = stream(seed, "demonstrations", skill, style)
        for question, answer in held_out(skill, count, seed):
            if form == "plain":
                prompt = FOLDS.plain.format(question=question.text, description="", answer_format="")
            elif form == "cue":
                prompt = FOLDS.technique.format(question=question.text, technique=style, description="", answer_format="", instruction="")
            else:
                demo = draw_training_question(rng, skill)
                shown = FOLDS.demonstration.format(question=demo.text, rationale=STYLES[style](demo, rng))
                prompt = FOLDS.shots.format(demonstrations=shown, question=question.text, description="", answer_format="")
            prompts.append(prompt)
            answers.append((skill, answer))
    model.eval()
    texts = decode(model, tokenizer, prompts)
    model.train()
    right = [answered(t) == a for t, (_, a) in zip(texts, answers, strict=True)]
    return {s: sum(r for r, (k, _) in zip(right, answers, strict=True) if k == s) / count for s in skills}


def plain_styles(model: LlamaForCausalLM, tokenizer: Tokenizer, count: int, seed: int = 7) -> dict[str, float]:
    """Shares of styles in what the model writes at temperature 1 under the plain prompt on target skills."""
    prompts = [FOLDS.plain.format(question=q.text, description="", answer_format="") for s in TARGETS for q, _ in held_out(s, count, seed)]
    model.eval()
    styles = [style_of(t) for t in decode(model, tokenizer, prompts, temperature=1.0, seed=seed)]
    model.train()
    return {s: styles.count(s) / len(styles) for s in sorted(set(styles))}


def evaluate(model: LlamaForCausalLM, tokenizer: Tokenizer, count: int) -> dict[str, object]:
    targets = {m: accuracy(model, tokenizer, m, TARGETS, count) for m in ("plain", "cue:steps", "shot:steps", "shot:terse", "shot:posthoc")}
    return {
        "targets": targets,
        "sources": {"shot:steps": accuracy(model, tokenizer, "shot:steps", SOURCES, max(8, count // 3))},
        "plain_styles": plain_styles(model, tokenizer, count),
    }


def mean(values: dict[str, float]) -> float:
    return math.fsum(values.values()) / len(values)


# --- one model --------------------------------------------------------------------------------------------------------------------


class Log:
    """JSON lines to a file and to the screen."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w")

    def write(self, **row: object) -> None:
        line = json.dumps(row)
        self._file.write(line + "\n")
        self._file.flush()
        print(line, flush=True)


def save_weights(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> str:
    """Weights in bf16 with tokenizer and configuration; returns the digest of the weights file."""
    save_tokenizer(tokenizer, folder)
    halves = LlamaForCausalLM(model.config).to(torch.bfloat16)
    halves.load_state_dict({k: v.to(torch.bfloat16) for k, v in model.state_dict().items()})
    halves.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config["tutelage"] = {"dialect": "folds", "licence": "Apache-2.0"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def load(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def raise_model(which: str, build: Build, lineage: int, out: Path, steps: int | None) -> None:
    seed = derive(lineage, "pretrain", which)
    tokenizer = build_tokenizer()
    model = new_model(build, tokenizer, seed)
    folder = out / which
    shutil.rmtree(folder, ignore_errors=True)
    log = Log(folder / "log.jsonl")
    began = time.monotonic()
    total = steps or build.steps
    log.write(
        event="start", model=which, lineage=lineage, parameters=model.num_parameters(), vocabulary=tokenizer.get_vocab_size(), steps=total
    )
    opts, bases = optimisers(model, build), (build.muon_lr, build.adam_lr)
    supply = rows(tokenizer, build.diet, random.Random(derive(lineage, "documents", which)))
    tokens = 0
    losses: list[float] = []
    for step in range(total):
        loss, seen = take_step(model, opts, [next(supply) for _ in range(ROWS)], bases, rate(step, total, build.decay))
        tokens += seen
        losses.append(loss)
        if (step + 1) % 50 == 0:
            log.write(event="step", step=step + 1, loss_nats=round(math.fsum(losses) / len(losses), 4), tokens=tokens)
            losses.clear()
            print(f"  {tokens / (time.monotonic() - began):.0f} tokens/s", file=sys.stderr, flush=True)
        if (step + 1) % 400 == 0 and step + 1 < total:
            log.write(event="evaluation", step=step + 1, **evaluate(model, tokenizer, 25))
        if step + 1 in build.checkpoints and build.more_diet is not None:
            save_weights(model, tokenizer, folder / "checkpoints" / f"step-{step + 1:04d}")
    log.write(event="evaluation", step=total, **evaluate(model, tokenizer, 50))
    if build.more_diet is not None:
        total = _second_stage(model, tokenizer, build, lineage, which, folder, log, total, tokens)
    digest = save_weights(model, tokenizer, folder)
    model = load(folder)
    log.write(event="end", step=total, sha256=digest, **evaluate(model, tokenizer, 100))


def _second_stage(
    model: LlamaForCausalLM, tokenizer: Tokenizer, build: Build, lineage: int, which: str, folder: Path, log: Log, step: int, tokens: int
) -> int:
    """More target questions at a small constant rate until the student is partly skilled."""
    if build.more_diet is None:
        raise ValueError("this build has no second stage")
    opts, bases = optimisers(model, build), (build.muon_lr, build.adam_lr)
    supply = rows(tokenizer, build.more_diet, random.Random(derive(lineage, "documents", which, "second")))
    for extra in range(build.more_steps):
        share = 0.3 * min(1.0, (extra + 1) / 10)
        loss, seen = take_step(model, opts, [next(supply) for _ in range(ROWS)], bases, share)
        tokens += seen
        if (extra + 1) % 10 == 0:
            skilled = accuracy(model, tokenizer, "shot:steps", TARGETS, 60)
            log.write(event="second", step=step + extra + 1, loss_nats=round(loss, 4), tokens=tokens, one_shot_steps=skilled)
            if mean(skilled) >= PARTLY:
                return step + extra + 1
    return step + build.more_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--which", choices=("teacher", "student", "both"), default="both")
    parser.add_argument("--steps", type=int, help="steps of the first stage (default: what the package ships)")
    parser.add_argument("--lineage", type=int, default=0, help="another number gives other start weights and other documents")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for which in ("teacher", "student") if options.which == "both" else (options.which,):
        raise_model(which, BUILDS[which], options.lineage, options.out, options.steps)


if __name__ == "__main__":
    main()
