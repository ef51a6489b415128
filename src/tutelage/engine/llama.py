"""Passes of a Llama model: transformers' operations in transformers' order, without the calls around them and without unread results.

A step of a small model over few rows is mostly calls: modules in modules, options handed down, a mask that is not used. Here the weights
are read once per call and the same numbers come out, in steps to the last bit; a module's first step is computed both ways to make sure.
Where only some tokens' logits are wanted, the others end at the last layer's keys and values.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.engine.attention import Pass

_TRUE: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
"""By module: whether its first step came out the same both ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    before: Tensor
    """Weight of the norm in front of attention, (width,)."""
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: nn.Linear
    scale: float
    after: Tensor
    """Weight of the norm in front of the feed-forward part, (width,)."""
    gate: nn.Linear
    up: nn.Linear
    down: nn.Linear
    act: Any


class LlamaPasses:
    """The weights of one module, and its passes."""

    def __init__(self, module: Any) -> None:
        body = module.model
        self._module = module
        self._table, self._rotary, self._last = body.embed_tokens.weight, body.rotary_emb, body.norm.weight
        self._eps, self._head, self._size = body.norm.variance_epsilon, module.lm_head, body.layers[0].self_attn.head_dim
        self._layers = [
            _Layer(
                before=layer.input_layernorm.weight, query=layer.self_attn.q_proj, key=layer.self_attn.k_proj,
                value=layer.self_attn.v_proj, out=layer.self_attn.o_proj, scale=layer.self_attn.scaling,
                after=layer.post_attention_layernorm.weight, gate=layer.mlp.gate_proj, up=layer.mlp.up_proj, down=layer.mlp.down_proj,
                act=layer.mlp.act_fn,
            )
            for layer in body.layers[: module.config.num_hidden_layers]
        ]  # fmt: skip

    def logits(self, ids: Tensor, positions: Tensor, what: Pass, *, wanted: Tensor | None) -> Tensor:
        """(tokens,) ids at (tokens,) positions -> (wanted tokens, vocabulary); of all tokens where `wanted` is None."""
        rows, size, half = len(ids), self._size, self._size // 2
        states = F.embedding(ids, self._table)
        cos, sin = self._rotary(states.unsqueeze(0), position_ids=positions.unsqueeze(0))
        cos, sin = cos[0].unsqueeze(1), sin[0].unsqueeze(1)
        # The sign that belongs to the turned half is put on the sine: once, instead of in every layer.
        signed = torch.cat((-sin[..., :half], sin[..., half:]), -1)
        for number, layer in enumerate(self._layers):
            normed = self._norm(states, layer.before)
            query = _linear(normed, layer.query).view(rows, -1, size)
            both = torch.cat((query, _linear(normed, layer.key).view(rows, -1, size)), 1)
            turned = torch.cat((both[..., half:], both[..., :half]), -1)
            both = (both * cos).add_(turned.mul_(signed))
            value = _linear(normed, layer.value).view(rows, -1, size)
            heads = query.shape[1]
            mixed = what.attend(number, both[:, :heads], both[:, heads:], value, layer.scale).reshape(rows, -1)
            if wanted is not None and number == len(self._layers) - 1:
                mixed, states = mixed.index_select(0, wanted), states.index_select(0, wanted)
            states = states + _linear(mixed, layer.out)
            normed = self._norm(states, layer.after)
            states = states + _linear(layer.act(_linear(normed, layer.gate)).mul_(_linear(normed, layer.up)), layer.down)
        return _linear(self._norm(states, self._last), self._head)

    def _norm(self, states: Tensor, weight: Tensor) -> Tensor:
        if states.dtype == torch.float32:
            return torch.rms_norm(states, weight.shape, weight, self._eps)
        wide = states.float()
        return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self._eps)).to(states.dtype)

    def holds(self, logits: Tensor, expected: Tensor) -> bool:
        """Remember whether a step gave what the module itself gives."""
        _TRUE[self._module] = torch.equal(logits, expected)
        return _TRUE[self._module]

    @property
    def tried(self) -> bool:
        return self._module in _TRUE


def _linear(states: Tensor, part: nn.Linear) -> Tensor:
    return F.linear(states, part.weight, part.bias)


def passes_of(module: Any) -> LlamaPasses | None:
    """None where the module is no plain Llama: another class, adapters, hooks, a forward of its own, one norm unlike the others."""
    if not type(module).__module__.endswith("models.llama.modeling_llama") or not _TRUE.get(module, True):
        return None
    from transformers.models.llama import modeling_llama as llama

    if type(module) is not llama.LlamaForCausalLM:
        return None
    known = (
        llama.LlamaForCausalLM, llama.LlamaModel, llama.LlamaDecoderLayer, llama.LlamaAttention, llama.LlamaMLP, llama.LlamaRMSNorm,
        llama.LlamaRotaryEmbedding, nn.Embedding, nn.Linear, nn.ModuleList,
    )  # fmt: skip
    body: Any = module.model
    acts = {id(layer.mlp.act_fn) for layer in body.layers}
    epsilons = set()
    for part in module.modules():
        if part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part):
            return None
        if type(part) not in known and id(part) not in acts:
            return None
        if type(part) is llama.LlamaRMSNorm:
            epsilons.add(part.variance_epsilon)
    return LlamaPasses(module) if len(epsilons) == 1 else None
