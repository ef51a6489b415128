"""What can be known of a checkpoint folder without loading it: is it one, which weights is it, what can it do. No torch here."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tutelage.capabilities import ModelFacts
from tutelage.errors import DataError, SettingsError, StorageError
from tutelage.hashing import DIGEST_BYTES, content_id

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
)
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
_NO_MEANING = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "tutelage", "use_cache")
"""Fields of config.json that a second save may change while the model stays the same."""
_SAVED_BY_CHANCE = ("is_local", "local_files_only", "name_or_path", "tokenizer_file", "transformers_version", "processor_class", "auto_map")
"""Fields of tokenizer_config.json that depend on how the tokenizer was last opened."""
_CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length")

ADAPTER_CONFIG = "adapter_config.json"
OWN_FILE = "terms.safetensors"
"""Beside weights that a fit wrote: the parameters that its terms owned, as `term.parameter`."""
REWARD_HEAD = "reward_head"
"""The parameter that rates what a language model has read, a matrix of (width, 1)."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFolder:
    """A folder that was looked at and found to hold a model (`base` is None) or an adapter for one."""

    path: Path
    weights: tuple[Path, ...]
    """The safetensors files, in the order of their names."""
    config: Mapping[str, Any]
    """config.json; for an adapter that of its base."""
    base: CheckpointFolder | None = None
    adapter: Mapping[str, Any] | None = None
    """adapter_config.json, where this is an adapter."""

    @property
    def tokenizer_path(self) -> Path:
        """Where the tokenizer lies: an adapter folder need not carry its own."""
        own = any((self.path / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"))
        return self.path if own or self.base is None else self.base.tokenizer_path


def inspect_folder(path: str | Path) -> CheckpointFolder:
    """The checkpoint in `path`, or a DataError that says why there is none."""
    folder = Path(path).expanduser()
    if not folder.exists():
        raise DataError("model folder does not exist", got=str(path), fix="name a folder with config.json and *.safetensors")
    if not folder.is_dir():
        raise DataError("model path is a file, not a folder", got=str(path), fix="name the folder that holds config.json and *.safetensors")
    if (folder / ADAPTER_CONFIG).is_file():
        return _inspect_adapter(folder)
    if not (folder / "config.json").is_file():
        names = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            "folder holds no model: config.json is missing",
            got=f"{path} (it holds {names})",
            fix="name a folder written by save_pretrained, or an adapter folder with adapter_config.json",
        )
    return CheckpointFolder(path=folder, weights=_weight_files(folder), config=_read_json(folder / "config.json"))


def _inspect_adapter(folder: Path) -> CheckpointFolder:
    adapter = _read_json(folder / ADAPTER_CONFIG)
    name = adapter.get("base_model_name_or_path")
    if not name:
        raise DataError("adapter does not name its base model", got=str(folder), fix=f"set base_model_name_or_path in {ADAPTER_CONFIG}")
    base = Path(name).expanduser()
    if not base.is_absolute() and not base.is_dir():
        base = folder / name
    if not base.is_dir():
        raise DataError(
            "base model of the adapter is not a local folder",
            got=f"{folder} names {name}",
            fix=f"download the base and set base_model_name_or_path in {ADAPTER_CONFIG} to its folder",
        )
    found = inspect_folder(base)
    return CheckpointFolder(path=folder, weights=_weight_files(folder), config=found.config, base=found, adapter=adapter)


def _weight_files(folder: Path) -> tuple[Path, ...]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        lost = [name for name in names if not (folder / name).is_file()]
        if lost or not names:
            raise DataError("checkpoint is incomplete: weight files are missing", got=f"{folder}: {', '.join(lost[:4]) or 'empty index'}")
        return tuple(folder / name for name in names)
    for name in ("model.safetensors", "adapter_model.safetensors"):
        if (folder / name).is_file():
            return (folder / name,)
    pickled = sorted(p.name for pattern in _PICKLED for p in folder.glob(pattern) if p.name != "training_args.bin")
    if pickled:
        raise DataError(
            "checkpoint has pickled weights only, and loading a pickle can run code",
            got=f"{folder}: {', '.join(pickled[:4])}",
            fix="convert it: load it where you trust it and call save_pretrained(folder, safe_serialization=True)",
        )
    raise DataError("folder has a configuration but no weights", got=str(folder), fix="put model.safetensors beside config.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as broken:
        raise DataError(f"{path.name} of the model folder is not JSON", got=f"{path}: {broken}") from broken
    if not isinstance(value, dict):
        raise DataError(f"{path.name} of the model folder is not a JSON object", got=str(path))
    return value


# Digest

_HASHES: dict[tuple[str, int, int], str] = {}


def _file_hash(path: Path) -> str:
    """Hash of the bytes, computed once per (path, size, time of change) and process: weights are large and asked for often."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _HASHES:
        hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                hasher.update(block)
        _HASHES[key] = hasher.hexdigest()
    return _HASHES[key]


def _tokenizer_part(path: Path) -> Any:
    if path.name != "tokenizer_config.json":
        return _file_hash(path)
    return _without(_read_json(path), _SAVED_BY_CHANCE)


def _without(config: Mapping[str, Any], fields: Sequence[str]) -> str:
    """As text, since such files hold integers beyond 64 bits, which canonical JSON refuses."""
    return json.dumps({k: v for k, v in config.items() if k not in fields}, sort_keys=True)


def digest_of(folder: CheckpointFolder) -> str:
    """One id for all that decides what the model answers: weights, configuration, tokenizer, chat template, end-of-text ids, base."""
    tokenizer = folder.tokenizer_path
    parts: dict[str, Any] = {
        "weights": [_file_hash(p) for p in folder.weights],
        "config": _without(folder.config, _NO_MEANING),
        "tokenizer": {name: _tokenizer_part(tokenizer / name) for name in TOKENIZER_FILES if (tokenizer / name).is_file()},
        "ends": sorted(stop_ids_of(folder)),
    }
    if reward_head_of(folder) is not None:
        parts["reward head"] = _file_hash(folder.path / OWN_FILE)
    if folder.base is not None:
        parts["base"] = digest_of(folder.base)
        parts["adapter"] = _without(folder.adapter or {}, ("base_model_name_or_path", "revision"))
    return content_id(parts)


def reward_head_of(folder: CheckpointFolder) -> str | None:
    """Under which name a reward head lies in the folder's `OWN_FILE`; None where there is none. Other parameters of terms are left over
    from training and answer nothing."""
    file = folder.path / OWN_FILE
    if not file.is_file():
        return None
    return next((name for name, _, _ in tensor_headers(file) if name.rpartition(".")[2] == REWARD_HEAD), None)


def stop_ids_of(folder: CheckpointFolder) -> frozenset[int]:
    """Ids after which the configuration says that a completion is over: of generation_config.json, else of config.json."""
    source = folder.base or folder
    generation = source.path / "generation_config.json"
    value = _read_json(generation).get("eos_token_id") if generation.is_file() else None
    if value is None:
        value = source.config.get("eos_token_id")
    if value is None:
        return frozenset()
    return frozenset(value if isinstance(value, list) else [value])


# Facts


def facts_of(folder: CheckpointFolder) -> ModelFacts:
    """What config.json and the headers of the weight files say."""
    config = folder.config
    family = _family(folder)
    text_config = _table(config, "text_config")
    context = next((c[name] for c in (config, text_config) for name in _CONTEXT_FIELDS if isinstance(c.get(name), int)), None)
    own = _table(config, "tutelage")
    labels, template = _labels(folder, family), _template_hash(folder.tokenizer_path)
    return ModelFacts(
        capabilities=_capabilities(family, labels, headed=reward_head_of(folder) is not None),
        parameters=sum(_parameters(p) for p in folder.weights) + (sum(_parameters(p) for p in folder.base.weights) if folder.base else 0),
        context_tokens=context,
        family=family,
        dialect=own.get("dialect", "english"),
        licence=own.get("licence") or _readme_licence((folder.base or folder).path) or "unknown",
        chat_template=bool(template),
        template=template,
        labels=labels,
    )


def _capabilities(family: str, labels: Sequence[str], *, headed: bool) -> frozenset[str]:
    """A classifier of one output rates texts (a reward model); it has no classes to choose among. A language model rates them where a
    reward head lies beside its weights."""
    if is_causal(family):
        return frozenset({"generate", "score", "embed", "train"} | ({"reward"} if headed else set()))
    able = {"reward"} if len(labels) == 1 else {"classify"} if labels else set[str]()
    return frozenset({"embed", "train"} | able)


def _labels(folder: CheckpointFolder, family: str) -> tuple[str, ...]:
    """Names of a classifier's outputs, in their order."""
    named = folder.config.get("id2label")
    if not is_classifier(family):
        return ()
    if isinstance(named, dict) and named:
        return tuple(str(named[key]) for key in sorted(named, key=int))
    # transformers leaves the names out where there are two and nobody named them
    return tuple(f"LABEL_{i}" for i in range(int(folder.config.get("num_labels", 2))))


def _table(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def is_causal(family: str) -> bool:
    return family.endswith(("ForCausalLM", "LMHeadModel"))


def is_classifier(family: str) -> bool:
    return family.endswith("ForSequenceClassification")


def _family(folder: CheckpointFolder) -> str:
    names = folder.config.get("architectures")
    if not names or not isinstance(names, list):
        raise DataError("config.json names no architecture", got=str(folder.path), fix="save the model with save_pretrained")
    family = str(names[0])
    if "auto_map" in folder.config:
        _refuse_custom_code(folder, family)
    encoder = family.endswith(("Model", "ForMaskedLM")) or is_classifier(family)
    if is_causal(family) or (encoder and not folder.config.get("is_encoder_decoder")):
        return family
    raise DataError(
        "architecture is neither a causal language model nor a text encoder nor a classifier",
        got=f"{family} in {folder.path}",
        fix="use a checkpoint whose architecture ends in ForCausalLM, LMHeadModel, ForSequenceClassification or (for embeddings) Model or "
        "ForMaskedLM",
    )


def _refuse_custom_code(folder: CheckpointFolder, family: str) -> None:
    """`auto_map` points at Python files in the folder. Fine where transformers knows the model itself, refused where it does not."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # pyright: ignore[reportPrivateImportUsage]  # slow to import, needed for such folders only

    kind = folder.config.get("model_type", "")
    if kind not in CONFIG_MAPPING_NAMES:
        raise SettingsError(
            "model needs custom code from its folder, which is never run",
            got=f"{family} (model_type {kind!r}) in {folder.path}",
            fix="use an architecture that transformers knows, or serve the model elsewhere and name it openai:MODEL@URL",
        )


def tensor_headers(path: Path) -> Iterator[tuple[str, str, list[int]]]:
    """(name, dtype, shape) of every tensor in a safetensors file, from its header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        lead = file.read(8)
        length = struct.unpack("<Q", lead)[0] if len(lead) == 8 else size
        if length > size - 8:
            raise StorageError("weight file is damaged: its header is longer than the file", got=str(path), fix="copy or download it again")
        try:
            header = orjson.loads(file.read(length))
        except orjson.JSONDecodeError as broken:
            raise StorageError(
                "weight file is damaged: its header cannot be read", got=str(path), fix="copy or download it again"
            ) from broken
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, entry["dtype"], entry["shape"]


def _parameters(path: Path) -> int:
    return sum(math.prod(shape) for _, _, shape in tensor_headers(path))


def _template_hash(folder: Path) -> str:
    """Which chat template the tokenizer has; empty where prompts are given verbatim."""
    jinja, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if jinja.is_file():
        found: Any = jinja.read_text(encoding="utf-8")
    elif (folder / "chat_template.json").is_file():
        found = _read_json(folder / "chat_template.json").get("chat_template")
    else:
        found = _read_json(config).get("chat_template") if config.is_file() else None
    return content_id(["chat template", found]) if found else ""


def _readme_licence(folder: Path) -> str | None:
    """The `license:` line of a hub card, where there is a README with one."""
    readme = folder / "README.md"
    if not readme.is_file():
        return None
    head = re.match(r"---\n(.*?)\n---", readme.read_text(encoding="utf-8", errors="replace"), re.S)
    found = re.search(r"^license:\s*(\S+)\s*$", head.group(1), re.M) if head else None
    return found.group(1) if found else None
