"""Where an endpoint is, how it wants to be spoken to, and which key it may see.

openai:MODEL                                        api.openai.com, or the server in OPENAI_BASE_URL
openai:MODEL@http://127.0.0.1:8000/v1               any other server
openai:MODEL@https://host/v1?concurrency=64&api=completions
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import parse_qsl, urlsplit

import orjson

from tutelage.errors import SettingsError, did_you_mean
from tutelage.hashing import content_id

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_KEYS_OF_HOSTS = {
    "api.openai.com": "OPENAI_API_KEY",
    "openrouter.ai": "OPENROUTER_API_KEY",
    "api.together.xyz": "TOGETHER_API_KEY",
    "api.mistral.ai": "MISTRAL_API_KEY",
    "api.groq.com": "GROQ_API_KEY",
    "api.x.ai": "XAI_API_KEY",
    "api.deepseek.com": "DEEPSEEK_API_KEY",
    "api.anthropic.com": "ANTHROPIC_API_KEY",
    "integrate.api.nvidia.com": "NVIDIA_API_KEY",
    "generativelanguage.googleapis.com": "GEMINI_API_KEY",
    "dashscope.aliyuncs.com": "DASHSCOPE_API_KEY",
    "dashscope-intl.aliyuncs.com": "DASHSCOPE_API_KEY",
}
"""A provider's key goes to that provider and to nobody else."""
_OTHER_KEY = "TUTELAGE_API_KEY"
"""For every host that is not in the table."""
_CHANGES_ANSWERS = ("api", "effort", "extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One endpoint as its user named it. All fields but the first two can be given in the query of the base URL."""

    model: str
    base: str
    """Without a slash at its end."""
    api: str = "chat"
    """`chat` (messages; the server applies the template) or `completions` (plain text, for models without a template)."""
    score: str = "none"
    """How to get log-probabilities of given text: `ids` (vLLM, SGLang: /tokenize and prompt_logprobs), `echo` (completions with echo)."""
    concurrency: int = 256
    """Most requests under way at once."""
    start: int = 32
    """Requests under way at first; doubles per round trip until the endpoint pushes back."""
    rpm: float | None = None
    """Requests per minute that the provider allows."""
    prompt_tpm: float | None = None
    """Input tokens per minute."""
    completion_tpm: float | None = None
    """Output tokens per minute."""
    timeout_s: float = 300.0
    """Longest wait for one answer."""
    connect_s: float = 10.0
    attempts: int = 10
    """Failed attempts after which a row is given up, as data."""
    backoff_s: float = 0.5
    """First wait after a failure; doubles."""
    silence_s: float = 600.0
    """Time without any answer after which a run stops (it can be continued)."""
    dead_s: float = 30.0
    """How long a server that has answered before may be unreachable (a restart) until the run stops."""
    samples: int = 1
    """Samples of one prompt per request. More than 1 pays the prompt once, and needs a server that knows `n`."""
    repairs: int = 2
    """How often an answer that does not fit its JSON schema is asked for again, with the fault named."""
    texts: int = 64
    """Texts per request for embeddings."""
    effort: str | None = None
    """`reasoning_effort`, for models that know it."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request, as JSON."""
    limit_field: str = ""
    """Name of the field for `max_tokens`; `max_completion_tokens` at OpenAI itself, else `max_tokens`."""
    dialect: str = "english"
    """Which wording of prompts the model was raised on; `folds` where the bundled teacher is served."""
    key_env: str = ""
    """Name of the environment variable that holds the key."""
    identity: str | None = None
    """Stands for the base URL in the model's id, so that answers stay known when a server moves."""

    @property
    def host(self) -> str:
        return urlsplit(self.base).hostname or ""

    @property
    def digest(self) -> str:
        """Of base URL (or identity), model and whatever of the options can change an answer."""
        row: list[Any] = ["openai", self.identity or self.base, self.model]
        usual = Address(model=self.model, base=self.base)
        changes = {name: getattr(self, name) for name in _CHANGES_ANSWERS if getattr(self, name) != getattr(usual, name)}
        return content_id([*row, changes] if changes else row)

    @property
    def key_name(self) -> str:
        """Which environment variable holds the key for this host."""
        if self.key_env:
            return self.key_env
        for host, name in _KEYS_OF_HOSTS.items():
            if self.host == host or self.host.endswith("." + host):
                return name
        own = os.environ.get("OPENAI_BASE_URL")
        # Whoever points OPENAI_BASE_URL at a server means OPENAI_API_KEY for it.
        return "OPENAI_API_KEY" if own and own.rstrip("/") == self.base else _OTHER_KEY

    @property
    def tokens_field(self) -> str:
        return self.limit_field or ("max_completion_tokens" if self.host == "api.openai.com" else "max_tokens")

    @property
    def is_local(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @classmethod
    def parse(cls, name: str) -> Address:
        """From a model name as the user wrote it."""
        rest = name.removeprefix("openai:")
        # Some model names contain an @ themselves; the base URL's always stands before http.
        cut = max(rest.find("@http://"), rest.find("@https://"))
        if cut < 0 and "@" in rest[1:]:
            raise SettingsError(
                "base URL of the endpoint does not start with http:// or https://", got=name, fix="openai:MODEL@http://host:port/v1"
            )
        model, base = (rest[:cut], rest[cut + 1 :]) if cut >= 0 else (rest, os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL)
        if not model:
            raise SettingsError("endpoint name has no model", got=name, fix="openai:MODEL@http://host:port/v1")
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("base URL of the endpoint is not one", got=base, fix="openai:MODEL@http://host:port/v1")
        if parts.username or parts.password:
            raise SettingsError(
                "base URL of the endpoint contains a password", got=parts.hostname, fix="put the key into the environment instead"
            )
        try:
            pairs = parse_qsl(parts.query, strict_parsing=bool(parts.query), keep_blank_values=True)
        except ValueError:
            raise SettingsError("endpoint option has no value", got=parts.query, fix="write ?NAME=VALUE&NAME=VALUE") from None
        options = {key: _typed(key, value) for key, value in pairs}
        return cls(model=model, base=f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/"), **options)

    def __post_init__(self) -> None:
        for name, known in (("api", ("chat", "completions")), ("score", ("none", "ids", "echo"))):
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"endpoint option {name} has an unknown value", got=getattr(self, name), fix=f"known: {', '.join(known)}"
                )
        for name in ("concurrency", "start", "attempts", "samples", "texts"):
            if getattr(self, name) < 1:
                raise SettingsError(f"endpoint option {name} must be at least 1", got=getattr(self, name))
        for name in ("rpm", "prompt_tpm", "completion_tpm", "timeout_s", "connect_s", "silence_s"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise SettingsError(f"endpoint option {name} must be above 0", got=value)

    def having(self, options: Mapping[str, Any]) -> Address:
        """With options given in code instead of in the name."""
        for name in options:
            if name not in _OPTIONS:
                raise SettingsError("endpoint has no such option", got=name, fix=did_you_mean(name, _OPTIONS))
        return replace(self, **options)


_OPTIONS = tuple(f.name for f in fields(Address) if f.name not in ("model", "base"))


def _typed(name: str, value: str) -> Any:
    if name not in _OPTIONS:
        raise SettingsError("endpoint has no such option", got=name, fix=did_you_mean(name, _OPTIONS))
    kind = get_type_hints(Address)[name]
    try:
        if kind is int:
            return int(value)
        if kind in (float, float | None):
            return float(value)
        if name == "extra":
            return orjson.loads(value)
    except ValueError:
        raise SettingsError(f"endpoint option {name} cannot be read", got=value) from None
    return value


class Key:
    """A secret that does not print."""

    __slots__ = ("_text", "name")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._text = text

    def header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._text}"} if self._text else {}

    def scrub(self, text: str) -> str:
        """Text of a server or of the network layer, which may quote the key, without it."""
        return text.replace(self._text, "[key]") if self._text else text

    def scrub_bytes(self, body: bytes) -> bytes:
        return body.replace(self._text.encode(), b"[key]") if self._text else body

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return f"Key({self.name}, {'set' if self._text else 'not set'})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a key is not written anywhere")


def key_of(address: Address, *, dotenv: Path | str = ".env") -> Key:
    """The key for an endpoint, from the environment, else from `.env` in the working folder. Empty where there is none."""
    name = address.key_name
    text = os.environ.get(name) or _from_dotenv(Path(dotenv), name)
    text = text.strip()
    if any(ord(c) < 33 or ord(c) > 126 for c in text):
        raise SettingsError(f"key in {name} contains characters that no key has", fix="copy it again, without spaces or line ends")
    return Key(name, text)


def _from_dotenv(path: Path, name: str) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{path} cannot be read", got=type(problem).__name__, fix="correct the file or move it away") from None
    for line in lines:
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and key.strip() == name:
            value = value.strip()
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
                return value[1:-1]
            return value.split(" #", 1)[0].strip()
    return ""
