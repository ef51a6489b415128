"""A model as the loop sees it: rows in, hidden states in packed order out, and the head that turns them into logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.objectives.projection import Head
from tutelage.train import attention
from tutelage.train.batch import Batch
from tutelage.train.vocabulary import SharedVocabulary
from tutelage.train.window import Group, Row

_AGREE = 2e-4
"""Largest relative difference at which two ways of computing the same thing count as equal (float32; 30 times that in bf16)."""


class Network:
    """One causal transformer, packed where that is proven to give the same numbers, padded where not."""

    def __init__(self, module: nn.Module, *, tokenizer_ids: int, layout: str = "packed", bf16: bool = False, head: str = "lm") -> None:
        self.module = module
        """What is trained and saved: a transformers model or a peft model around one."""
        self.inner: Any = _inner(module)
        """The transformers model; adapters sit inside it."""
        self.body: Any = self.inner.base_model
        self.device = next(module.parameters()).device
        self.tokenizer_ids = tokenizer_ids
        """How many ids the tokenizer has; the table may be wider."""
        self.layout = layout
        self.bf16 = bf16
        self.notes: list[str] = []
        """Where the network could not do as asked, and why."""
        self._own_attention = self.inner.config._attn_implementation
        self.kind = head
        self._plain_head = head == "class"
        self._prove()

    def states(self, batch: Batch) -> Tensor:
        """(tokens, width) in packed order; (tokens, vocab) where the head is not a plain matrix."""
        with self._precision():
            if self.kind == "encoded":
                return torch.cat(self._read(batch, lambda ids, seen: self._own_states(ids, seen)))
            if self.layout == "packed":
                return self._packed(batch)[0]
            return self._padded(batch)

    def projected(self, hidden: Tensor, shared: SharedVocabulary | None) -> tuple[Tensor, Head]:
        """Hidden states and the head that makes logits of them, cut to the ids the tokenizer has, or to the shared ones: no other id
        can get mass or take any. Where the head is not a plain matrix the "hidden states" are logits, and they are cut."""
        keep = _kept(shared, min(self.tokenizer_ids, self.table), self.device)
        if not self._plain_head:
            return hidden[:, keep], Head(None)
        layer = self.inner.get_output_embeddings()
        if isinstance(keep, slice) and keep.stop >= self.table:
            return hidden, Head(layer.weight, layer.bias)
        return hidden, Head(layer.weight[keep], None if layer.bias is None else layer.bias[keep])

    def scores(self, last: Tensor) -> Tensor:
        """(rows, classes) of the class head from (rows, width) last states."""
        return self.inner.score(last.to(self.inner.score.weight.dtype)).float()

    def row_logits(self, batch: Batch) -> Tensor:
        """(rows, classes) of a class head that reads rows whole."""
        with self._precision():
            return torch.stack(self._read(batch, lambda ids, seen: self.inner(input_ids=ids, attention_mask=seen).logits)).float()

    def _own_states(self, ids: Tensor, seen: Tensor) -> list[Tensor]:
        """Per row (tokens, width)."""
        states = self.body(input_ids=ids, attention_mask=seen).last_hidden_state
        return [row[:n] for row, n in zip(states, seen.sum(1).tolist(), strict=True)]

    def _read(self, batch: Batch, ask: Callable[[Tensor, Tensor], Sequence[Tensor]]) -> list[Tensor]:
        """What `ask` makes of each row, in order. Rows of like length go together: padding is computed and thrown away."""
        rows, found = batch.ids.split(batch.lengths), dict[int, Tensor]()
        filler = self.inner.config.pad_token_id or 0
        for bunch in alike(batch.lengths):
            ids = nn.utils.rnn.pad_sequence([rows[i] for i in bunch], batch_first=True, padding_value=filler)
            lengths = torch.tensor([batch.lengths[i] for i in bunch], device=batch.device)
            seen = (torch.arange(ids.shape[1], device=batch.device)[None] < lengths[:, None]).long()
            found.update(zip(bunch, ask(ids, seen), strict=True))
        return [found[i] for i in range(len(rows))]

    @property
    def width(self) -> int:
        return int(self.inner.config.get_text_config().hidden_size)

    @property
    def states_width(self) -> int:
        """Of what `states` gives."""
        return self.width if self._plain_head else min(self.tokenizer_ids, self.table)

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
        """Give the module back its own attention, for writing text with it, saving it or handing it on."""
        if self.layout == "packed":
            self.inner.set_attn_implementation(self._own_attention)

    def claim_attention(self) -> None:
        """Take it again for packed rows."""
        if self.layout == "packed":
            self.inner.set_attn_implementation(attention.NAME)

    @property
    def table(self) -> int:
        return int(self.inner.get_input_embeddings().weight.shape[0])

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
        grid = batch.grid(side)

        def laid(flat: Tensor) -> Tensor:
            return grid.fill(flat.new_zeros(shape[0] * shape[1]), flat).view(shape)

        ids, seen, positions = laid(batch.ids), laid(torch.ones_like(batch.ids)), laid(batch.positions)
        options = {"input_ids": ids, "attention_mask": seen, "position_ids": positions, "use_cache": False}
        states = self.body(**options).last_hidden_state if self._plain_head else self.inner(**options).logits[..., : self.tokenizer_ids]
        return states.flatten(0, 1).index_select(0, grid.places)

    def _prove(self) -> None:
        """Check on a few ids that the head is a plain matrix and that packing changes nothing; note it and step back where not."""
        if self.kind == "encoded":
            self.layout = "right"
            return
        rows = [Row(key=str(n), ids=tuple((7 * i + n) % self.tokenizer_ids for i in range(n)), charged=(), spans=()) for n in (5, 3, 6)]
        batch = Batch([Group(rows=(r,)) for r in rows], self.device)
        wanted, self.layout = self.layout, "right"
        with self.frozen(), self._precision():
            logits = self._padded(batch)
            self._plain_head = self.kind == "class" or self._head_is_plain(batch, logits)
            padded = self._padded(batch)
            if wanted == "packed":
                reason = self._why_not_packed(batch, padded)
                if reason is None:
                    self.layout = "packed"
                    return
                self.inner.set_attn_implementation(self._own_attention)
                self.notes.append(f"rows are padded, not packed: {reason}")
                return
        self.layout = wanted

    def _head_is_plain(self, batch: Batch, logits: Tensor) -> bool:
        layer = self.inner.get_output_embeddings()
        if type(layer) is not nn.Linear:
            self.notes.append("logits are computed whole: the output head is not a plain linear layer")
            return False
        self._plain_head = True
        hidden, head = self.projected(self._padded(batch), None)
        if self._agree(head.logits(hidden), logits):
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


def alike(lengths: Sequence[int], slack: float = 0.25) -> list[list[int]]:
    """Numbers of rows in bunches whose longest is at most so much longer than its shortest."""
    bunches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if bunches and lengths[i] <= lengths[bunches[-1][0]] * (1 + slack) + 1:
            bunches[-1].append(i)
        else:
            bunches.append([i])
    return bunches


def _kept(shared: SharedVocabulary | None, whole: int, device: torch.device) -> slice | Tensor:
    if shared is None:
        return slice(0, whole)
    return slice(0, shared.size) if shared.ids is None else torch.tensor(shared.ids, device=device)


def _inner(module: Any) -> Any:
    return module.get_base_model() if hasattr(module, "peft_config") else module


_GIVEN: dict[torch.device, Tensor] = {}


def _given(device: torch.device) -> Tensor:
    """A four-dimensional mask, which transformers hands through as it is; segments do not look at it. Building one costs a millisecond."""
    if device not in _GIVEN:
        _GIVEN[device] = torch.zeros(1, 1, 1, 1, device=device)
    return _GIVEN[device]
