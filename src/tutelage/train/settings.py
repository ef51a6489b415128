"""How a fit is done: optimiser, schedule, precision, what is tuned. Torch-free; every field is part of the fit's key."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tutelage.errors import SettingsError, did_you_mean

FORMAT_VERSION = 2
"""Raised whenever the same settings on the same data would give other weights."""
_BF16_VERSION = 1
"""The same for fits in bf16 alone."""

_CHOICES = {
    "optimiser": ("adamw", "muon"),
    "schedule": ("constant", "linear", "cosine"),
    "precision": ("fp32", "bf16"),
    "layout": ("packed", "shared", "right", "left"),
    "overflow": ("drop", "truncate", "error"),
    "head": ("lm", "class", "embed"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Low-rank adapters instead of full tuning; the output is a PEFT folder."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    """Names of the modules to adapt; empty for every linear layer except the output head."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise SettingsError("LoRA needs a rank of at least 1", got=self.rank)
        if not 0 <= self.dropout < 1:
            raise SettingsError("LoRA dropout must be in [0, 1)", got=self.dropout)

    def describe(self) -> dict[str, Any]:
        return {**asdict(self), "targets": list(self.targets)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """One optimiser step works on one window of `batch` examples, pairs or groups; how a window is split for memory changes no number."""

    lr: float
    batch: int = 8
    """Examples, pairs or groups per window."""
    epochs: int = 1
    """Passes over fixed data."""
    steps: int | None = None
    """Number of windows: an upper bound for fixed data, and required where a source has no end of its own."""
    optimiser: str = "adamw"
    lr_other: float | None = None
    """With `muon`: the AdamW learning rate of embeddings, output head, norms and biases; None for 0.6 times `lr`."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    """Decoupled; on matrices only."""
    clip: float | None = 1.0
    """Largest norm of the gradient; None for no clipping."""
    schedule: str = "constant"
    warmup: float = 0.0
    """Share of the steps over which the learning rate rises from 0."""
    precision: str = "fp32"
    """Of the forward pass. Weights, optimiser and losses are float32 always."""
    lora: Lora | None = None
    head: str = "lm"
    """`lm`, `class` (a linear layer over the text: what transformers calls sequence classification), or `embed` (the mean of the last
    layer's states over the text's tokens; no head at all)."""
    classes: int = 0
    """Outputs of the `class` head; 0 for as many as there are `labels`."""
    labels: tuple[str, ...] = ()
    """Names of the classes, written into the checkpoint."""
    overflow: str = "drop"
    """Rows longer than the context: `drop`, `truncate` (the prompt
    from its start, then the completion from its end) or `error`. Counted."""
    context_tokens: int | None = None
    """Longest row; None for what the model's configuration says."""
    layout: str = "packed"
    """`packed`: rows one after another, each attending to itself only; `shared`: the same, and the prompt that the rows of a pair or group
    have in common is computed once; `right` or `left`: padded. The same numbers up to rounding."""
    micro_tokens: int = 8192
    """Most tokens in one forward pass. Changes memory and speed, and numbers by rounding only."""
    tile_bytes: int | None = None
    """Most memory of one tile of logits; None for what is fast on the device: about the caches of a CPU, much more on an accelerator."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0 for none."""

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise SettingsError(f"fit setting '{name}' has an unknown value", got=value, fix=did_you_mean(str(value), known))
        if self.tile_bytes is not None and self.tile_bytes < 1:
            raise SettingsError("fit setting 'tile_bytes' must be at least 1, or None", got=self.tile_bytes)
        for name in ("batch", "epochs", "micro_tokens"):
            if getattr(self, name) < 1:
                raise SettingsError(f"fit setting '{name}' must be at least 1", got=getattr(self, name))
        if not self.lr > 0:
            raise SettingsError("fit setting 'lr' must be positive", got=self.lr)
        if not 0 <= self.warmup <= 1:
            raise SettingsError("fit setting 'warmup' is a share of the steps, in [0, 1]", got=self.warmup)
        if self.clip is not None and not self.clip > 0:
            raise SettingsError("fit setting 'clip' must be positive, or None for no clipping", got=self.clip)
        if self.steps is not None and self.steps < 1:
            raise SettingsError("fit setting 'steps' must be at least 1, or None", got=self.steps)
        if self.head == "class" and self.labels and self.classes not in (0, len(self.labels)):
            raise SettingsError("fit settings 'classes' and 'labels' disagree", got=f"{self.classes} and {len(self.labels)}", fix="set one")
        if self.head == "class" and self.outputs < 1:
            raise SettingsError("the class head needs the number of classes", got=self.classes, fix="set classes")
        if self.head == "embed" and self.layout == "shared":
            raise SettingsError("the embed head reads every text alone", got="layout=shared", fix="leave layout as it is")

    @property
    def outputs(self) -> int:
        """Of the class head."""
        return self.classes or len(self.labels)

    def tile_on(self, device: str) -> int:
        """Bytes of a tile of logits on a device of this type."""
        return self.tile_bytes or (8 * 2**20 if device == "cpu" else 256 * 2**20)

    def describe(self) -> dict[str, Any]:
        """As JSON. What only decides when a checkpoint is written is left out: it changes no weight."""
        body = {name: getattr(self, name) for name in self.__slots__ if name not in ("lora", "checkpoint_every", "labels")}
        if self.labels:  # left out elsewhere, so that fits without them keep their keys
            body["labels"] = list(self.labels)
        if self.precision == "bf16":
            body["bf16_format"] = _BF16_VERSION
        return {**body, "betas": list(self.betas), "lora": self.lora.describe() if self.lora else None, "format": FORMAT_VERSION}
