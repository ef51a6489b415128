"""Raise the second bundled pair, which speaks the wording of BIG-Bench Hard: tokenizer, teacher, student, cards and logs.

    python scripts/pretrain_bbh.py --which teacher --out DIR     # what the package ships
    python scripts/pretrain_bbh.py --which student --lineage 1 --out DIR   # a fresh student

Both are raised on generated problems only (`tutelage.tasks.bbh_world`); no published question and no generated test question is among
them. The teacher learns all five tasks, the student three and never sees `web_of_lies` or `tracking`. Budgets are steps, a run takes
one thread, and what is drawn at a step depends on the lineage and the step alone, so that a run that was cut short goes on where it
last saved (`--resume`). What a model can do comes late and suddenly: until then only the loss tells whether it is coming.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from bundled_training import Muon, rate
from tutelage.prompts.dialects import BBH
from tutelage.seeds import derive, stream
from tutelage.tasks import bbh_world as world
from tutelage.tasks.bbh_world_logic import draw_name
from tutelage.tasks.bbhlike import BUCKETS

EOS, PAD = "<eos>", "<pad>"
CONTEXT = 1024
QUESTION_WEIGHT = 0.05
"""Question tokens are mostly random draws: at full weight their noise drowns what can be learned."""
QUESTION_SHARE = 0.125
"""Of the question tokens, how many are asked for at all, each with weight `QUESTION_WEIGHT / QUESTION_SHARE`."""
NAME_PIECES = 110
BATCH_TOKENS = 1400
"""Of one forward pass; documents of like length share one, so that little is padded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Further steps with other shares, whose rates fall to zero in a line from half their height."""

    steps: int
    skills: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How one model is made."""

    width: int
    layers: int
    heads: int
    inner: int
    steps: int
    documents: int
    """Per step."""
    skills: Mapping[str, float]
    """Shares of documents."""
    two: float = 0.12
    """Share of documents that hold two problems, the first as a demonstration."""
    muon_lr: float = 6e-3
    adam_lr: float = 3.6e-3
    decay: float = 0.4
    """Share of the steps at the end over which both rates fall to zero in a line."""
    horizon: int = 0
    """Where that line ends, if the first stage is left before."""
    later: tuple[Stage, ...] = ()

    @property
    def all_steps(self) -> int:
        return self.steps + sum(stage.steps for stage in self.later)

    def skills_at(self, step: int) -> Mapping[str, float]:
        found = self._later_at(step)
        return found[0].skills if found else self.skills

    def closes_at(self, step: int) -> bool:
        """A first stage that others follow leaves out the closing sentence of tracking. This is how the teacher came about: at the end
        of its first stage every state was right and the answer, read off in one look, mostly a guess."""
        return step >= self.steps or not self.later

    def rate_at(self, step: int) -> float:
        """Share of the full learning rates at `step`, counted from 0."""
        found = self._later_at(step)
        return 0.5 * rate(found[1], found[0].steps, 1.0) if found else rate(step, self.horizon or self.steps, self.decay)

    def _later_at(self, step: int) -> tuple[Stage, int] | None:
        """The later stage that `step` belongs to, and the number of the step within it."""
        within = step - self.steps
        for stage in self.later:
            if 0 <= within < stage.steps:
                return stage, within
            within -= stage.steps
        return None


WEB, BOOLEAN, NAVIGATE, TRACKING, COUNTING = world.SKILLS
BUILDS = {
    "teacher": Build(
        width=96,
        layers=4,
        heads=4,
        inner=256,
        steps=1500,
        horizon=1700,
        documents=20,
        skills={WEB: 0.22, BOOLEAN: 0.16, NAVIGATE: 0.24, TRACKING: 0.14, COUNTING: 0.24},
        later=(
            Stage(steps=250, skills={WEB: 0.12, BOOLEAN: 0.14, NAVIGATE: 0.22, TRACKING: 0.4, COUNTING: 0.12}),
            Stage(steps=150, skills={WEB: 0.1, BOOLEAN: 0.1, NAVIGATE: 0.1, TRACKING: 0.6, COUNTING: 0.1}),
        ),
    ),
    "student": Build(width=64, layers=3, heads=4, inner=176, steps=400, documents=20, skills={BOOLEAN: 0.3, NAVIGATE: 0.4, COUNTING: 0.3}),
}


# --- tokenizer --------------------------------------------------------------------------------------------------------------------


def build_tokenizer() -> Tokenizer:
    """Words of the world and numbers as single tokens, names in short pieces, single bytes for all else; nothing lost on the way.

    As in the first bundled world, a word token carries the space in front of it, and lines get a space in front when encoding, which
    decoding takes away again.
    """
    letters = [chr(c) for c in (*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z") + 1))]
    whole = [f" {w}" for w in (*world.words(), "Q", "A", "(A)", "(B)", "(C)", *(str(n) for n in range(61)))]
    pieces = [
        PAD,
        EOS,
        *(f"<0x{b:02X}>" for b in range(256)),
        "\n",
        " ",
        *".,:;?!()-'\"",
        *"0123456789",
        *letters,
        *(f" {c}" for c in letters[26:]),
    ]
    pieces += whole + name_pieces(NAME_PIECES)
    # Every piece costs the same, so the segmentation with the fewest pieces wins; bytes come in only where no piece fits.
    tokenizer = Tokenizer(models.Unigram([(p, -1.0) for p in dict.fromkeys(pieces)], unk_id=0, byte_fallback=True))
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


def name_pieces(count: int) -> list[str]:
    """The pieces of two or three letters that save most tokens over many drawn names."""
    rng = stream(0, "names")
    saved: dict[str, int] = {}
    for _ in range(20000):
        name = f" {draw_name(rng)}"
        for size in (2, 3):
            for start in range(len(name) - size + 1):
                piece = name[start : start + size]
                if piece.strip() == piece or size == 3:
                    saved[piece] = saved.get(piece, 0) + size - 1
    return sorted(saved, key=lambda p: (-saved[p], p))[:count]


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": CONTEXT,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


# --- documents --------------------------------------------------------------------------------------------------------------------

Document = tuple[list[int], list[float]]
"""Ids and the weight of each as a target."""


def draw_document(rng: random.Random, tokenizer: Tokenizer, build: Build, step: int = 0) -> Document:
    skills = build.skills_at(step)
    skill = rng.choices(list(skills), weights=list(skills.values()))[0]
    shown = 1 if rng.random() < build.two else 0
    ids: list[int] = []
    weights: list[float] = []
    for last in [False] * shown + [True]:
        question = draw_training_question(rng, skill)
        prompt = BBH.plain.format(question=question.text, description="", answer_format="")
        part = tokenizer.encode(("\n\n" if ids else "") + prompt).ids
        ids += part
        weights += [QUESTION_WEIGHT] * len(part)
        part = tokenizer.encode(world.write_steps(question, closing=build.closes_at(step))).ids + (
            [tokenizer.token_to_id(EOS)] if last else []
        )
        ids += part
        weights += [1.0] * len(part)
    asked = [0.0 if w < 1 and rng.random() >= QUESTION_SHARE else w / (QUESTION_SHARE if w < 1 else 1) for w in weights]
    return ids, [0.0, *asked[1:]]


def draw_training_question(rng: random.Random, skill: str) -> world.Question:
    return world.draw(rng, skill, keep=lambda text: world.bucket(text) not in BUCKETS["test"])


def batches(documents: Sequence[Document]) -> list[list[Document]]:
    """Documents of like length together, each batch within `BATCH_TOKENS` when padded to its longest."""
    out: list[list[Document]] = []
    for document in sorted(documents, key=lambda d: -len(d[0])):
        longest = len(out[-1][0][0]) if out else 0
        if out and longest * (len(out[-1]) + 1) <= BATCH_TOKENS and len(document[0]) > 0.6 * longest:
            out[-1].append(document)
        else:
            out.append([document])
    return out


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
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(EOS),
        pad_token_id=tokenizer.token_to_id(PAD),
        rms_norm_eps=1e-5,
        attention_dropout=0.0,
    )
    config._attn_implementation = "sdpa"
    return LlamaForCausalLM(config).float()


def optimisers(model: LlamaForCausalLM, build: Build) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [Muon(matrices, lr=build.muon_lr), torch.optim.AdamW(rest, lr=build.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)]


def take_step(
    model: LlamaForCausalLM, opts: Sequence[torch.optim.Optimizer], documents: Sequence[Document], bases: Sequence[float], share: float
) -> tuple[float, int]:
    """Mean loss over the completion tokens of the step, in nats, and the number of tokens seen."""
    total = math.fsum(w for _, weights in documents for w in weights)
    answered = 0.0
    count = 0
    for batch in batches(documents):
        longest = len(batch[0][0])
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        weights = torch.zeros(len(batch), longest)
        for row, (part, weight) in enumerate(batch):
            ids[row, : len(part)] = torch.tensor(part)
            weights[row, : len(part)] = torch.tensor(weight)
        # Padding stands behind all that is asked for, so that plain causal attention needs no mask.
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        wanted = weights[:, 1:] > 0
        nats = F.cross_entropy(model.lm_head(hidden[wanted]), ids[:, 1:][wanted], reduction="none")
        weight = weights[:, 1:][wanted]
        ((nats * weight).sum() / total).backward()
        solution = weight == 1.0
        answered += float(nats.detach()[solution].sum())
        count += int(solution.sum())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt, base in zip(opts, bases, strict=True):
        for group in opt.param_groups:
            group["lr"] = base * share
        opt.step()
        opt.zero_grad(set_to_none=True)
    return answered / count, sum(len(d[0]) for d in documents)


# --- evaluation -------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def decode(model: LlamaForCausalLM, tokenizer: Tokenizer, prompts: Sequence[str], max_tokens: int = 220) -> list[str]:
    """Greedy completions, in order. Prompts are padded on the left."""
    eos, pad = tokenizer.token_to_id(EOS), tokenizer.token_to_id(PAD)
    encoded = [tokenizer.encode(p).ids for p in prompts]
    longest = max(len(e) for e in encoded)
    ids = torch.tensor([[pad] * (longest - len(e)) + e for e in encoded])
    mask = torch.tensor([[0] * (longest - len(e)) + [1] * len(e) for e in encoded])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    past = DynamicCache(config=model.config)
    live = torch.ones(len(prompts), dtype=torch.bool)
    out: list[list[int]] = [[] for _ in prompts]
    for _ in range(max_tokens):
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True, logits_to_keep=1
        ).logits
        following = logits[:, -1].argmax(-1)
        live &= following != eos
        if not live.any():
            break
        for row in live.nonzero()[:, 0].tolist():
            out[row].append(int(following[row]))
        ids, positions = following[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones(len(prompts), 1, dtype=mask.dtype)], 1)
    return [tokenizer.decode(o) for o in out]


def held_out(skill: str, count: int, seed: int = 7) -> list[world.Question]:
    """Questions that can only be test questions."""
    rng = stream(seed, "held out", skill)
    return [world.draw(rng, skill, keep=lambda text: world.bucket(text) in BUCKETS["test"]) for _ in range(count)]


def evaluate(model: LlamaForCausalLM, tokenizer: Tokenizer, skills: Sequence[str], count: int) -> dict[str, dict[str, float]]:
    """Per skill, shares of right answers and of solutions that are right in every step, on held-out generated questions."""
    model.eval()
    out: dict[str, dict[str, float]] = {}
    for skill in skills:
        questions = held_out(skill, count)
        texts = decode(model, tokenizer, [BBH.plain.format(question=q.text, description="", answer_format="") for q in questions])
        answers = [t.rpartition(world.ANSWER)[2].strip() for t in texts]
        right = sum(a == world.solve(q.text, skill) for a, q in zip(answers, questions, strict=True))
        sound = sum(not world.trace_errors(q.text, t, skill) for t, q in zip(texts, questions, strict=True))
        out[skill] = {"answers": right / count, "traces": sound / count}
    model.train()
    return out


# --- one model --------------------------------------------------------------------------------------------------------------------


def save_state(path: Path, model: LlamaForCausalLM, opts: Sequence[torch.optim.Optimizer], step: int, tokens: int) -> None:
    tensors: dict[str, Tensor] = {f"model/{n}": p.detach() for n, p in model.named_parameters()}
    for i, opt in enumerate(opts):
        for j, parameter in enumerate(p for group in opt.param_groups for p in group["params"]):
            tensors |= {f"optimiser/{i}/{j}/{k}": torch.as_tensor(v) for k, v in opt.state[parameter].items()}
    save_file(tensors, path.with_suffix(".part"), metadata={"step": str(step), "tokens": str(tokens)})
    path.with_suffix(".part").replace(path)


def load_state(path: Path, model: LlamaForCausalLM, opts: Sequence[torch.optim.Optimizer]) -> tuple[int, int]:
    from safetensors import safe_open

    with safe_open(str(path), "pt") as opened:
        about = opened.metadata()
    parameters = dict(model.named_parameters())
    listed = [[p for group in opt.param_groups for p in group["params"]] for opt in opts]
    with torch.no_grad():
        for name, tensor in load_file(path).items():
            kind, _, rest = name.partition("/")
            if kind == "model":
                parameters[rest].copy_(tensor)
            else:
                i, j, key = rest.split("/")
                opts[int(i)].state[listed[int(i)][int(j)]][key] = tensor.clone()
    return int(about["step"]), int(about["tokens"])


def save_weights(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> str:
    """Weights in bf16 with tokenizer and configuration; returns the digest of the weights file."""
    save_tokenizer(tokenizer, folder)
    halves = LlamaForCausalLM(model.config).to(torch.bfloat16)
    halves.load_state_dict({k: v.to(torch.bfloat16) for k, v in model.state_dict().items()})
    halves.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config["tutelage"] = {"dialect": BBH.name, "licence": "Apache-2.0"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def raise_model(
    which: str,
    build: Build,
    lineage: int,
    out: Path,
    steps: int | None,
    *,
    resume: bool,
    save_every: int = 250,
    count: int = 200,
    stop: int | None = None,
) -> None:
    """Train from nothing, or from the state that a run left behind, and write folder, log and state to `out`.

    `count`: held-out questions per skill at the end. `stop`: break off before this step, as a kill would.
    """
    tokenizer = build_tokenizer()
    model = new_model(build, tokenizer, derive(lineage, "bbh", which))
    opts, bases = optimisers(model, build), (build.muon_lr, build.adam_lr)
    folder = out / f"bbh_{which}"
    folder.mkdir(parents=True, exist_ok=True)
    build = replace(build, steps=steps or build.steps)
    state, total = out / f"{which}.state.safetensors", build.all_steps
    first, tokens = load_state(state, model, opts) if resume and state.exists() else (0, 0)
    log = folder / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True) if first else []
    # Steps behind the saved state are done again, so they are not told twice.
    log.write_text("".join(line for line in lines if json.loads(line)["step"] <= first))

    def write(**row: object) -> None:
        with log.open("a") as told:
            told.write(json.dumps(row) + "\n")
        print(time.strftime("%H:%M:%S"), json.dumps(row), flush=True)

    write(event="start", model=which, lineage=lineage, parameters=model.num_parameters(), vocabulary=tokenizer.get_vocab_size(), step=first)
    losses: list[float] = []
    began, before = time.monotonic(), tokens
    for step in range(first, total):
        if step == stop:
            return
        rng = stream(lineage, "bbh documents", which, step)
        documents = [draw_document(rng, tokenizer, build, step) for _ in range(build.documents)]
        loss, seen = take_step(model, opts, documents, bases, build.rate_at(step))
        tokens += seen
        losses.append(loss)
        if (step + 1) % 50 == 0:
            write(event="step", step=step + 1, loss_nats=round(math.fsum(losses) / len(losses), 4), tokens=tokens)
            print(f"  {(tokens - before) / (time.monotonic() - began):.0f} tokens/s", flush=True)
            losses.clear()
        if (step + 1) % save_every == 0:
            save_state(state, model, opts, step + 1, tokens)
        if (step + 1) % 500 == 0 and step + 1 < total:
            write(event="evaluation", step=step + 1, **evaluate(model, tokenizer, list(build.skills), 20))
    digest = save_weights(model, tokenizer, folder)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = evaluate(model, tokenizer, list(build.skills), count)
    write(event="end", step=total, tokens=tokens, sha256=digest, **found)
    (folder / "README.md").write_text(card(which, build, lineage, model.num_parameters(), tokens, digest, found, count))


def card(
    which: str, build: Build, lineage: int, parameters: int, tokens: int, digest: str, found: Mapping[str, Mapping[str, float]], count: int
) -> str:
    """The model's card, from nothing but facts of this run."""
    rows = "\n".join(f"| {skill} | {100 * f['answers']:.1f} | {100 * f['traces']:.1f} |" for skill, f in found.items())
    unseen = [skill for skill in world.SKILLS if skill not in build.skills]
    return f"""---
license: apache-2.0
---

# bundled:bbh-{which}

A small decoder (Llama architecture, {parameters:,} parameters, bf16) that reads and writes one thing: generated problems in the wording of
{len(build.skills)} tasks of BIG-Bench Hard, each solved step by step. Made by `scripts/pretrain_bbh.py --which {which} --lineage {lineage}`
from {tokens / 1e6:.1f} million tokens in {build.all_steps} steps on one CPU thread; `log.jsonl` is the log of that run.
SHA-256 of the weights: `{digest}`.

On {count} held-out generated questions each, greedy, in percent: right answers, and solutions in which the solver finds every step right.

| task | answers | every step |
|---|---|---|
{rows}

{"Never seen: " + ", ".join(unseen) + "." if unseen else "It has seen all five tasks."}
It was trained on no published question; wordings, lengths and things that occur were written after reading the published files. It is of no
use outside this wording. What it does on the published questions: `docs/experiments/real-questions.md`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--which", choices=tuple(BUILDS), required=True)
    parser.add_argument("--steps", type=int, help="of the first stage (default: what the package ships)")
    parser.add_argument("--lineage", type=int, default=0, help="another number gives other start weights and other documents")
    parser.add_argument("--resume", action="store_true", help="go on from the state that an earlier run left in --out")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    raise_model(options.which, BUILDS[options.which], options.lineage, options.out, options.steps, resume=options.resume)


if __name__ == "__main__":
    main()
