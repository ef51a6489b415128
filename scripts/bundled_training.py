"""How the bundled pair is trained: documents packed into rows, a model from nothing, one optimiser step."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from bundled_tokenizer import CONTEXT_TOKENS, EOS, PAD, token_id
from tutelage.tasks.folds_documents import Diet, Piece, draw_document

ROWS = 8
"""Rows of `CONTEXT_TOKENS` tokens per step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How one model is made."""

    width: int
    layers: int
    heads: int
    inner: int
    steps: int
    diet: Diet
    settle_steps: int = 0
    """Steps of a last stage at small, falling rates on `settle_diet`."""
    settle_diet: Diet | None = None
    more_steps: int = 0
    """Upper bound of a stage that ends when the model is partly skilled."""
    more_diet: Diet | None = None
    checkpoints: tuple[int, ...] = ()
    """Steps of the first stage whose weights are kept; the second keeps its weights at each of `RISING`."""
    muon_lr: float = 6e-3
    adam_lr: float = 3.6e-3
    begin: str = ""
    """Bundled model whose weights this one begins with; from nothing where empty."""
    own: str = "steps"
    """The notation whose one-shot accuracy ends the second stage."""
    modes: tuple[str, ...] = ()
    """Ways of asking that the log and the card report beside the usual ones."""
    decay: float = 0.4
    """Share of the steps at the end over which both rates fall to zero in a line."""


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
    eos, pad = token_id(tokenizer, EOS), token_id(tokenizer, PAD)
    pool: list[tuple[list[int], list[float]]] = []
    while True:
        row = Row([], [], [], [])
        number = 0
        while True:
            while len(pool) < 48:
                document = document_ids(tokenizer, draw_document(rng, diet), eos)
                if len(document[0]) <= CONTEXT_TOKENS:
                    pool.append(document)
            room = CONTEXT_TOKENS - len(row.ids)
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
        spare = CONTEXT_TOKENS - len(row.ids)
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


def new_model(build: Build, tokenizer: Tokenizer, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=build.width,
        intermediate_size=build.inner,
        num_hidden_layers=build.layers,
        num_attention_heads=build.heads,
        num_key_value_heads=build.heads,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, EOS),
        pad_token_id=token_id(tokenizer, PAD),
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
