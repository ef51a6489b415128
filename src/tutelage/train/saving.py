"""Model folders that are whole or not there: written beside their place and renamed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tutelage.engine.digest import ADAPTER_CONFIG, TOKENIZER_FILES, CheckpointFolder, digest_of
from tutelage.engine.loading import BASE_FILE, no_bars
from tutelage.journal.folder import lives, storage_error
from tutelage.train.network import Network


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A fresh sibling of `out` to write into; renamed to `out` when the block ends well, removed when it does not.

    A folder cannot replace another in one move, so the old one steps aside first; `tidied` puts it back where a kill came in between.
    """
    tidied(out)
    part, old = (out.parent / f".{out.name}.{kind}-{os.getpid()}" for kind in ("part", "old"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        yield part
        if out.exists():
            out.rename(old)
        part.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as wrong:
        refused = _refusal(wrong)
        if refused is None:
            raise
        raise storage_error(out, refused) from wrong
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not out.exists():
            old.rename(out)


def tidied(out: Path) -> None:
    """Away with what killed processes left beside `out`; where one was killed between the two moves of a replacement, the old is back."""
    for kind in ("old", "part"):
        for left in out.parent.glob(f".{out.name}.{kind}-*"):
            if lives(int(left.name.rsplit("-", 1)[1])):
                continue
            if kind == "old" and not out.exists():
                left.rename(out)
            else:
                shutil.rmtree(left, ignore_errors=True)


def _refusal(wrong: OSError | SafetensorError) -> OSError | None:
    """What the operating system said. safetensors passes it on as text; None where the text holds no number of an error."""
    if isinstance(wrong, OSError):
        return wrong
    told = re.search(r"os error (\d+)", str(wrong))
    return None if told is None else OSError(int(told[1]), os.strerror(int(told[1])))


def save_network(network: Network, source: CheckpointFolder, part: Path) -> None:
    """Weights as safetensors with configuration, generation settings and the tokenizer's own files; an adapter as a PEFT folder.

    The tokenizer is copied, not written anew, so that an unchanged tokenizer keeps its digest.
    """
    network.restore_attention()
    model: Any = network.module
    with no_bars():
        model.save_pretrained(str(part))
    for name in TOKENIZER_FILES:
        if (source.tokenizer_path / name).is_file():
            shutil.copyfile(source.tokenizer_path / name, part / name)
    readme = part / "README.md"
    if readme.exists():  # peft writes an empty form
        readme.unlink()
    if (part / ADAPTER_CONFIG).is_file():
        (part / BASE_FILE).write_text(json.dumps({"digest": digest_of(source.base or source)}) + "\n", encoding="utf-8")
    if (part / "config.json").is_file():
        _keep_entry(part / "config.json", source.config)
        _suppress(part, network)


def _keep_entry(file: Path, config: Any) -> None:
    body = json.loads(file.read_text(encoding="utf-8"))
    if "tutelage" in config:
        body["tutelage"] = config["tutelage"]
    body.pop("_name_or_path", None)
    file.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _suppress(part: Path, network: Network) -> None:
    """Where the table is wider than the tokenizer, tell generation elsewhere too never to emit the spare ids."""
    file, table = part / "generation_config.json", network.table
    if table <= network.tokenizer_ids or not file.is_file():
        return
    body = json.loads(file.read_text(encoding="utf-8"))
    spare = set(range(network.tokenizer_ids, table))
    body["suppress_tokens"] = sorted(spare | set(body.get("suppress_tokens") or ()))
    file.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", encoding="utf-8")
