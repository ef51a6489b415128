"""Checkpoint folders opened as networks, for training or to be asked."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tutelage.engine.digest import CheckpointFolder, facts_of, inspect_folder, is_causal
from tutelage.engine.loading import OpenModel, no_bars, open_model
from tutelage.engine.rendering import Rendering, open_rendering
from tutelage.errors import CapabilityError, DataError, SettingsError
from tutelage.train.network import Network
from tutelage.train.settings import FitSettings, Lora

ModelPath = Path | tuple[Path, Path]
"""A checkpoint or adapter folder, or (base folder, adapter folder)."""


def open_student(model: ModelPath, settings: FitSettings, *, device: torch.device) -> tuple[OpenModel, Network]:
    """The model with everything trainable that is to be trained, in float32. Full tuning of an adapter starts from it merged in."""
    if settings.head == "class":
        opened = _open_classifier(model, settings, device)
    else:
        opened = _opened(model, device, trainable=settings.lora is not None)
        if settings.head == "lm" and not is_causal(facts_of(opened.folder).family):
            raise CapabilityError(
                "model cannot be trained to write: it is no causal language model", got=str(model), fix="set head to class or embed"
            )
    module: Any = opened.module
    if settings.lora is None:
        module = module.merge_and_unload() if hasattr(module, "merge_and_unload") else module
        module.requires_grad_(True)
    elif not hasattr(module, "peft_config"):
        module = _adapted(module, settings, opened.folder.path)
    return opened, _network(module, opened, settings)


def open_frozen(model: ModelPath, settings: FitSettings, *, device: torch.device) -> tuple[Rendering, Network, int | None]:
    """The model to be asked, never trained; how it renders texts; and the longest row it can read."""
    opened = _opened(model, device, trainable=False)
    opened.module.requires_grad_(False)
    return opened.rendering, _network(opened.module, opened, settings), facts_of(opened.folder).context_tokens


def _opened(model: ModelPath, device: torch.device, *, trainable: bool) -> OpenModel:
    if not isinstance(model, tuple):
        return open_model(model, device=str(device), dtype=torch.float32, trainable=trainable)
    base, adapter = model
    named = inspect_folder(adapter).base
    if named is None:
        raise DataError("folder holds no adapter", got=str(adapter), fix="name a folder with adapter_config.json, or the model alone")
    if named.path.resolve() != Path(base).resolve():
        raise DataError(
            "adapter belongs to another base model", got=f"{adapter} was trained on {named.path}, not on {base}", fix="name its own base"
        )
    return open_model(adapter, device=str(device), dtype=torch.float32, trainable=trainable)


def _open_classifier(model: ModelPath, settings: FitSettings, device: torch.device) -> OpenModel:
    """The body of a language model under a new class head, or a classifier with as many classes as it has. An adapter is merged first."""
    folder = inspect_folder(model[1] if isinstance(model, tuple) else model)
    if folder.base is None:
        module, rendering = _classifier(folder, settings), open_rendering(folder)
    elif settings.lora is not None:
        raise CapabilityError(
            "an adapter for a class head cannot stand on another adapter",
            got=str(folder.path),
            fix="tune in full (lora=None merges the adapter), or merge it first: a fit of head lm with full tuning writes it merged",
        )
    else:
        opened = _opened(model, device, trainable=False)
        module, rendering = _under_class_head(opened.module, settings), opened.rendering
    module.config.pad_token_id = _padding(rendering)
    return OpenModel(module=module.to(device).eval(), rendering=rendering, folder=folder, device=device, dtype=torch.float32)


def _classifier(folder: CheckpointFolder, settings: FitSettings) -> Any:
    from transformers import AutoModelForSequenceClassification

    with no_bars(), silenced_load_report():
        return AutoModelForSequenceClassification.from_pretrained(
            str(folder.path),
            **_outputs(settings),
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )


def _under_class_head(adapted: Any, settings: FitSettings) -> Any:
    """The body with the adapter merged into it, and a new head with weights drawn from the fit's own random numbers."""
    from transformers import AutoModelForSequenceClassification

    merged = adapted.merge_and_unload()
    config = copy.deepcopy(merged.config)
    for name, value in _outputs(settings).items():
        setattr(config, name, value)
    module: Any = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    getattr(module, module.base_model_prefix).load_state_dict(getattr(merged, merged.base_model_prefix).state_dict())
    return module


def _outputs(settings: FitSettings) -> dict[str, Any]:
    """The classes as transformers' configurations have them."""
    if not settings.labels:
        return {"num_labels": settings.classes}
    named = dict(enumerate(settings.labels))
    return {"id2label": named, "label2id": {label: i for i, label in named.items()}}


def _padding(rendering: Rendering) -> int | None:
    """By this id transformers finds a row's last token in a batch, so it must never be a row's last token: not the end of text."""
    tokenizer = rendering.tokenizer
    ids = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
    return next((i for i in ids if i is not None and i not in rendering.stop_ids), None)


@contextmanager
def silenced_load_report() -> Iterator[None]:
    """transformers reports the new head as missing weights, which is what was asked for."""
    from transformers.utils import logging as chatter

    level = chatter.get_verbosity()
    chatter.set_verbosity_error()
    try:
        yield
    finally:
        chatter.set_verbosity(level)


def _adapted(module: Any, settings: FitSettings, folder: Path) -> Any:
    from peft import LoraConfig, get_peft_model

    lora = settings.lora or Lora()
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or "all-linear",
        task_type={"lm": "CAUSAL_LM", "class": "SEQ_CLS", "embed": "FEATURE_EXTRACTION"}[settings.head],
    )
    with warnings.catch_warnings():  # peft still asks transformers by a name that transformers has renamed
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        try:
            adapted = get_peft_model(module, config)
        except ValueError as wrong:
            names = sorted({n.rsplit(".", 1)[-1] for n, m in module.named_modules() if isinstance(m, torch.nn.Linear)})
            raise SettingsError(
                "LoRA cannot be put on these modules",
                got=", ".join(lora.targets) or "all linear layers",
                fix=f"there are {', '.join(names)}",
            ) from wrong
    adapted.peft_config["default"].base_model_name_or_path = str(folder.resolve())
    return adapted


def _network(module: Any, opened: OpenModel, settings: FitSettings) -> Network:
    ids = opened.rendering.tokenizer.get_vocab().values()
    layout = "packed" if settings.layout == "shared" else settings.layout
    return Network(module, tokenizer_ids=max(ids) + 1, layout=layout, bf16=settings.precision == "bf16", head=_head_of(module, settings))


def _head_of(module: Any, settings: FitSettings) -> str:
    """`lm`, `class` (on a causal model's last state), or `encoded`: rows are read whole, by a model that may look both ways."""
    inner = module.get_base_model() if hasattr(module, "peft_config") else module
    if settings.head == "embed":
        return "encoded"
    if inner.get_output_embeddings() is not None:
        return "lm"
    return "class" if getattr(inner, "score", None) is not None else "encoded"


def context_of(opened: OpenModel, settings: FitSettings) -> int | None:
    """Longest row in tokens: what the user set, else what the configuration says, else unbounded."""
    if settings.context_tokens is not None or settings.head == "class":
        return settings.context_tokens or getattr(opened.module.config, "max_position_embeddings", None)
    return facts_of(opened.folder).context_tokens
