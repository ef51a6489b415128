"""A model as the loop sees it: rows in, hidden states in packed order out, and the head that turns them into logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.objectives.projection import Head
from tutelage.train import attention
from tutelage.train.batch import Batch
from tutelage.train.window import Group, Row

_AGREE = 2e-4
"""Largest relative difference at which two ways of computing the same thing count as equal (float32; 30 times that in bf16)."""


class Network:
    """One causal transformer, packed where that is proven to give the same numbers, padded where not."""

    def __init__(self, module: nn.Module, *, tokenizer_ids: int, layout: str = "packed", bf16: bool = False) -> None:
        self.module = module
        """What is trained and saved: a transformers model or a peft model around one."""
        self.inner: Any = _inner(module)
        """The transformers model; adapters sit inside it."""
        self.body: Any = getattr(self.inner, self.inner.base_model_prefix)
        self.device = next(module.parameters()).device
        self.tokenizer_ids = tokenizer_ids
        """How many ids the tokenizer has; the table may be wider."""
        self.layout = layout
        self.bf16 = bf16
        self.notes: list[str] = []
        """Where the network could not do as asked, and why."""
        self._own_attention = self.inner.config._attn_implementation
        self._plain_head = False
        self._prove()

    def states(self, batch: Batch) -> Tensor:
        """(tokens, width) in packed order; (tokens, vocab) where the head is not a plain matrix."""
        with self._precision():
            if self.layout == "packed":
                return self._packed(batch)[0]
            return self._padded(batch)

    def head(self, vocab: int | None = None) -> Head:
        """The output head cut to the ids the tokenizer has (or to the first `vocab`): others can neither get mass nor take any."""
        width = min(vocab or self.tokenizer_ids, self.table)
        if not self._plain_head:
            return Head(None)
        layer = self.inner.get_output_embeddings()
        weight, bias = layer.weight, layer.bias
        if width < self.table:
            weight, bias = weight[:width], None if bias is None else bias[:width]
        return Head(weight, bias)

    @property
    def width(self) -> int:
        return int(self.inner.config.get_text_config().hidden_size)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Without dropout and without gradients; the mode is put back afterwards."""
        was = self.module.training
        self.module.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.module.train(was)

    def restore_attention(self) -> None:
        """Give the module back its own attention, for saving it or handing it on."""
        self.inner.set_attn_implementation(self._own_attention)

    @property
    def table(self) -> int:
        return int(self.inner.get_output_embeddings().weight.shape[0])

    def _precision(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def _packed(self, batch: Batch) -> Tensor:
        options = {
            "input_ids": batch.ids[None],
            "position_ids": batch.positions[None],
            "attention_mask": _given(batch.device),
            "use_cache": False,
            "segments": batch.segments,
        }
        return self.body(**options).last_hidden_state if self._plain_head else self.inner(**options).logits[..., : self.tokenizer_ids]

    def _padded(self, batch: Batch) -> Tensor:
        side = "left" if self.layout == "left" else "right"
        shape = (len(batch.rows), max(batch.lengths))
        places = batch.grid_places(side)
        ids = batch.ids.new_zeros(shape).view(-1).index_copy(0, places, batch.ids).view(shape)
        seen = batch.ids.new_zeros(shape).view(-1).index_fill(0, places, 1).view(shape)
        positions = batch.ids.new_zeros(shape).view(-1).index_copy(0, places, batch.positions).view(shape)
        options = {"input_ids": ids, "attention_mask": seen, "position_ids": positions, "use_cache": False}
        grid = self.body(**options).last_hidden_state if self._plain_head else self.inner(**options).logits[..., : self.tokenizer_ids]
        return grid.flatten(0, 1).index_select(0, places)

    def _prove(self) -> None:
        """Check on a few ids that the head is a plain matrix and that packing changes nothing; note it and step back where not."""
        rows = [Row(key=str(n), ids=tuple((7 * i + n) % self.tokenizer_ids for i in range(n)), charged=(), spans=()) for n in (5, 3, 6)]
        batch = Batch([Group(rows=(r,)) for r in rows], self.device)
        wanted, self.layout = self.layout, "right"
        with self.frozen(), self._precision():
            logits = self._padded(batch)
            self._plain_head = self._head_is_plain(batch, logits)
            padded = self._padded(batch)
            if wanted == "packed":
                reason = self._why_not_packed(batch, padded)
                if reason is None:
                    self.layout = "packed"
                    return
                self.restore_attention()
                self.notes.append(f"rows are padded, not packed: {reason}")
                return
        self.layout = wanted

    def _head_is_plain(self, batch: Batch, logits: Tensor) -> bool:
        layer = self.inner.get_output_embeddings()
        if type(layer) is not nn.Linear:
            self.notes.append("logits are computed whole: the output head is not a plain linear layer")
            return False
        self._plain_head = True
        if self._agree(self.head().logits(self._padded(batch)), logits):
            return True
        self.notes.append("logits are computed whole: the model changes them after its output head")
        return False

    def _why_not_packed(self, batch: Batch, padded: Tensor) -> str | None:
        attention.register()
        try:
            self.inner.set_attn_implementation(attention.NAME)
            packed = self._packed(batch)[0]
        except (attention.Unpackable, ValueError, TypeError, NotImplementedError) as wrong:
            return str(wrong).splitlines()[0]
        return None if self._agree(packed, padded) else "it changes this architecture's numbers"

    def _agree(self, one: Tensor, other: Tensor) -> bool:
        if one.shape != other.shape:
            return False
        bound = _AGREE * (30 if self.bf16 or one.dtype == torch.bfloat16 else 1)
        return bool((one.float() - other.float()).norm() <= bound * other.float().norm() + 1e-12)


def _inner(module: Any) -> Any:
    return module.get_base_model() if hasattr(module, "peft_config") else module


_GIVEN: dict[torch.device, Tensor] = {}


def _given(device: torch.device) -> Tensor:
    """A four-dimensional mask, which transformers hands through as it is; segments do not look at it. Building one costs a millisecond."""
    if device not in _GIVEN:
        _GIVEN[device] = torch.zeros(1, 1, 1, 1, device=device)
    return _GIVEN[device]
