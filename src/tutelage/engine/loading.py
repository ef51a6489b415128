"""Checkpoint folders opened as torch modules: safetensors only, nobody's code, clear refusals."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage.engine.digest import ADAPTER_CONFIG, CheckpointFolder, digest_of, facts_of, inspect_folder, is_causal, is_classifier
from tutelage.engine.rendering import Rendering, open_rendering
from tutelage.errors import DataError, SettingsError

BASE_FILE = "base.json"
"""Beside an adapter that a fit wrote: the digest of the model it was trained on."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class OpenModel:
    """A checkpoint in memory, with everything needed to talk to it and to save it again."""

    module: nn.Module
    """In eval mode. A peft model where the folder holds an adapter."""
    rendering: Rendering
    folder: CheckpointFolder
    device: torch.device
    dtype: torch.dtype

    @property
    def digest(self) -> str:
        return digest_of(self.folder)


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is the accelerator where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as wrong:
        raise SettingsError("unknown device", got=name, fix="use auto, cpu, cuda or cuda:N") from wrong
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError("no CUDA device is available here", got=name, fix="use device auto or cpu")
    return device


def pick_dtype(name: str | torch.dtype, device: torch.device) -> torch.dtype:
    """`auto` is float32 on a CPU (bf16 files too: exact, and bf16 arithmetic is slow there) and bfloat16 on an accelerator."""
    if isinstance(name, torch.dtype):
        return name
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if name not in _DTYPES:
        raise SettingsError("unknown dtype", got=name, fix=f"use auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def open_model(path: str | Path, *, device: str = "auto", dtype: str | torch.dtype = "auto", trainable: bool = False) -> OpenModel:
    """The model in a checkpoint or adapter folder. `trainable` leaves an adapter's own weights trainable; nothing is merged."""
    folder = inspect_folder(path)
    place = pick_device(device)
    kind = pick_dtype(dtype, place)
    module = _open_module(folder, kind, trainable=trainable).to(place).eval()
    return OpenModel(module=module, rendering=open_rendering(folder), folder=folder, device=place, dtype=kind)


def _open_module(folder: CheckpointFolder, dtype: torch.dtype, *, trainable: bool) -> nn.Module:
    if folder.base is not None:
        from peft import PeftModel

        _check_base(folder, folder.base)
        base: Any = _open_module(folder.base, dtype, trainable=False)
        try:
            with quiet_peft():
                return PeftModel.from_pretrained(base, str(folder.path), is_trainable=trainable, torch_device="cpu")
        except (RuntimeError, ValueError, KeyError, TypeError) as wrong:
            raise DataError(
                "adapter does not fit the model that it names as its base",
                got=f"{folder.path} on {folder.base.path}: {' '.join(str(wrong).split())[:300]}",
                fix=f"set base_model_name_or_path in {ADAPTER_CONFIG} to the folder of the model it was trained on",
            ) from wrong
    import transformers

    family = facts_of(folder).family
    opener: Any = transformers.AutoModelForCausalLM if is_causal(family) else transformers.AutoModel
    if is_classifier(family):
        opener = transformers.AutoModelForSequenceClassification
    try:
        with no_bars():
            module, info = opener.from_pretrained(
                str(folder.path),
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError) as wrong:
        raise DataError(
            "model folder cannot be opened",
            got=f"{folder.path}: {str(wrong).strip().splitlines()[0][:300]}",
            fix="check that config.json and the weights belong together",
        ) from wrong
    _check_complete(folder, info, pooled=is_causal(family) or is_classifier(family))
    return module


def _check_base(adapter: CheckpointFolder, base: CheckpointFolder) -> None:
    """An adapter that says which weights it was trained on is not put on others, even where the shapes agree."""
    told = adapter.path / BASE_FILE
    if not told.is_file():
        return
    known = json.loads(told.read_text(encoding="utf-8")).get("digest")
    if known != digest_of(base):
        raise DataError(
            "adapter was trained on other weights than those of its base",
            got=f"{adapter.path} was trained on {known}, and {base.path} is {digest_of(base)}",
            fix=f"set base_model_name_or_path in {ADAPTER_CONFIG} to the folder with those weights",
        )


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without peft's use of a property that transformers is about to rename; nothing a user could act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated", category=FutureWarning)
        yield


@contextmanager
def no_bars() -> Iterator[None]:
    """Without the progress bars of transformers, which would break the run's own display."""
    from transformers.utils import logging as chatter

    shown = chatter.is_progress_bar_enabled()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            chatter.enable_progress_bar()


def _check_complete(folder: CheckpointFolder, info: dict[str, Any], *, pooled: bool) -> None:
    """transformers fills missing weights with noise and only warns; a model that is partly noise is not the user's model."""
    missing = sorted(info.get("missing_keys", ()))
    if not pooled:  # encoders are often saved without their unused pooling head
        missing = [key for key in missing if "pooler" not in key]
    wrong = missing or sorted(str(key) for key in info.get("mismatched_keys", ()))
    if wrong:
        raise DataError(
            "weights do not fill the model that config.json describes",
            got=f"{folder.path}: {len(wrong)} tensors missing or of another shape, for example {', '.join(wrong[:3])}",
            fix="check that config.json and the weights belong together",
        )


def save_model(module: nn.Module, rendering: Rendering, path: str | Path) -> Path:
    """Weights as safetensors, configuration and tokenizer as an ordinary checkpoint (or adapter) folder."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    with no_bars():
        module.save_pretrained(str(folder))  # pyright: ignore[reportCallIssue]
    rendering.tokenizer.save_pretrained(str(folder))
    return folder
