"""Model names and what answers to them. `resolve` and `facts` load no torch; `open_backend` loads what the named engine needs.

bundled:teacher|student     the small models that ship with the package
hf:FOLDER or hf:ORG/NAME    a checkpoint or adapter folder, or a hub id, run in this process
encoder:minilm              a small sentence encoder from an optional package
openai:MODEL[@BASE_URL]     any OpenAI-compatible endpoint
recorded:FILE               recorded answers played back
scripted:NAME               a function registered under NAME (tests)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tutelage.capabilities import ModelFacts
from tutelage.errors import DataError, EndpointError, InternalError, SettingsError, did_you_mean
from tutelage.hashing import content_id
from tutelage.records import ModelRef

FORMS = "bundled:teacher, bundled:student, hf:FOLDER, hf:ORG/NAME, encoder:minilm, openai:MODEL[@BASE_URL], recorded:FILE, scripted:NAME"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_HUB_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "vocab.txt", "merges.txt", "README.md")


def resolve(name: str) -> ModelRef:
    """The identity of the model that `name` stands for. Reads files to digest them (a hub id is downloaded); loads no weights."""
    scheme, colon, rest = name.partition(":")
    if not colon or scheme not in _RESOLVERS:
        raise SettingsError("unknown kind of model name", got=name, fix=_hint(name, scheme if colon else ""))
    if not rest:
        raise SettingsError(f"model name says nothing after '{scheme}:'", got=name, fix=f"forms: {FORMS}")
    return _RESOLVERS[scheme](name, rest)


def facts(ref: ModelRef) -> ModelFacts:
    """What is known of the model before anything is loaded."""
    scheme, _, rest = ref.name.partition(":")
    if scheme == "scripted":
        from tutelage.backends.scripted import script

        return script(rest).facts
    if scheme == "recorded":
        return ModelFacts(capabilities=frozenset({"generate"}), family="recorded")
    if scheme == "openai":
        from tutelage.backends.address import Address
        from tutelage.backends.openai import facts_of as facts_of_endpoint

        return facts_of_endpoint(Address.parse(ref.name))
    from tutelage.engine.digest import facts_of, inspect_folder

    return facts_of(inspect_folder(_folder(ref)))


def open_backend(ref: ModelRef, **options: Any) -> Any:
    """The model itself: an object with the methods of the capabilities that `facts` names. Options are those of its back end."""
    scheme, _, rest = ref.name.partition(":")
    if scheme == "scripted":
        from tutelage.backends.scripted import open_script, script

        return _opened(open_script, {"script": script(rest)}, options, ref)
    if scheme == "recorded":
        from tutelage.backends.recorded import open_recorded

        return _opened(open_recorded, {"path": _folder(ref)}, options, ref)
    if scheme == "openai":
        from tutelage.backends.openai import OpenAIBackend

        return OpenAIBackend(ref, **options)
    from tutelage.backends.hf import open_folder

    return _opened(open_folder, {"path": _folder(ref)}, options, ref)


def _opened(opener: Callable[..., Any], own: dict[str, Any], options: dict[str, Any], ref: ModelRef) -> Any:
    import inspect

    known = set(inspect.signature(opener).parameters) - set(own)
    for name in options:
        if name not in known:
            raise SettingsError(f"back end of '{ref.name}' has no option '{name}'", got=name, fix=did_you_mean(name, known))
    return opener(**own, **options)


def _folder(ref: ModelRef) -> Path:
    if ref.path is None:
        raise InternalError("model reference has no path", got=ref.name)
    return Path(ref.path)


def _hint(name: str, scheme: str) -> str:
    if scheme:
        hint = did_you_mean(scheme, _RESOLVERS)
        return f"{hint}\n       forms: {FORMS}" if hint.startswith("did") else f"forms: {FORMS}"
    if Path(name).expanduser().is_dir() or _HUB_ID.fullmatch(name):
        return f"did you mean 'hf:{name}'?\n       forms: {FORMS}"
    if Path(name).expanduser().is_file():
        return f"did you mean 'recorded:{name}'?\n       forms: {FORMS}"
    return f"forms: {FORMS}"


def _resolve_bundled(name: str, rest: str) -> ModelRef:
    from tutelage import bundled

    return _folder_ref(name, bundled.folder(rest))


def _resolve_encoder(name: str, rest: str) -> ModelRef:
    from tutelage.backends.encoders import encoder_folder

    return _folder_ref(name, encoder_folder(rest))


def _resolve_hf(name: str, rest: str) -> ModelRef:
    folder = Path(rest).expanduser()
    if not folder.exists() and _HUB_ID.fullmatch(rest):
        folder = _download(rest)
    return _folder_ref(name, folder)


def _folder_ref(name: str, folder: Path) -> ModelRef:
    from tutelage.engine.digest import digest_of, facts_of, inspect_folder

    found = inspect_folder(folder)
    facts_of(found)  # refuses what could not be opened, before work starts
    return ModelRef(
        name=name, digest=digest_of(found), path=str(folder.resolve()), adapter_of=None if found.base is None else digest_of(found.base)
    )


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    repository, _, revision = hub_id.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_HUB_FILES)))
    except (RepositoryNotFoundError, HFValidationError) as wrong:
        raise DataError(
            "there is no such folder, and no such model on the hub", got=hub_id, fix="check the name, or log in for a gated model"
        ) from wrong
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as wrong:
        raise EndpointError(
            "model is neither a local folder nor in the local hub cache, and the hub cannot be reached",
            got=f"{hub_id}: {str(wrong).strip().splitlines()[0][:200]}",
            fix="name a local folder as hf:FOLDER, or connect to the network once",
        ) from wrong


def _resolve_openai(name: str, rest: str) -> ModelRef:
    from tutelage.backends.address import Address

    del rest
    return ModelRef(name=name, digest=Address.parse(name).digest)


def _resolve_recorded(name: str, rest: str) -> ModelRef:
    from tutelage.backends.recorded import digest_of_files, recorded_files

    path = Path(rest).expanduser()
    return ModelRef(name=name, digest=digest_of_files(recorded_files(path)), path=str(path.resolve()))


def _resolve_scripted(name: str, rest: str) -> ModelRef:
    from tutelage.backends.scripted import script

    return ModelRef(name=name, digest=content_id(["scripted", rest, script(rest).version]))


_RESOLVERS: dict[str, Callable[[str, str], ModelRef]] = {
    "bundled": _resolve_bundled,
    "encoder": _resolve_encoder,
    "hf": _resolve_hf,
    "openai": _resolve_openai,
    "recorded": _resolve_recorded,
    "scripted": _resolve_scripted,
}
