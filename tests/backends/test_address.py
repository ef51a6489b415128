"""Endpoint names, and which key goes to which host."""

import dataclasses
import re
from pathlib import Path

import pytest

from tutelage.backends.address import Address, key_of
from tutelage.errors import SettingsError


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("openai:m@ftp://x/v1", "does not start with http"),
        ("openai:@http://x/v1", "no model"),
        ("openai:m@http:///v1", "is not one"),
        ("openai:m@http://user:secret@x/v1", "contains a password"),
        ("openai:m@http://x/v1?concurency=3", "did you mean 'concurrency'"),
        ("openai:m@http://x/v1?concurrency=many", "cannot be read"),
        ("openai:m@http://x/v1?concurrency=", "cannot be read"),
        ("openai:m@http://x/v1?concurrency", "has no value"),
        ("openai:m@http://x/v1?concurrency=0", "at least 1"),
        ("openai:m@http://x/v1?api=chatty", "known: chat, completions"),
        ("openai:m@http://x/v1?timeout_s=0", "above 0"),
    ],
)
def test_addresses_that_cannot_be_used(name, says):
    with pytest.raises(SettingsError, match=says) as caught:
        Address.parse(name)
    assert "secret" not in str(caught.value)


def test_addresses():
    assert Address.parse("openai:gpt-4o").base == "https://api.openai.com/v1"
    assert Address.parse("openai:gpt-4o").tokens_field == "max_completion_tokens"
    odd = Address.parse("openai:@cf/meta/llama-3@https://host/v1/")
    assert (odd.model, odd.base, odd.tokens_field) == ("@cf/meta/llama-3", "https://host/v1", "max_tokens")
    same = Address.parse("openai:m@http://a/v1").digest
    assert Address.parse("openai:m@http://a/v1?concurrency=9").digest == same
    assert Address.parse("openai:m@http://a/v1?api=completions").digest != same
    assert Address.parse("openai:m@http://b/v1").digest != same
    moved = [Address.parse(f"openai:m@http://{host}/v1?identity=mine").digest for host in "ab"]
    assert moved[0] == moved[1] != same


def test_a_providers_key_goes_to_that_provider_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    openai, groq, other = (
        Address.parse(n) for n in ("openai:m", "openai:m@https://api.groq.com/openai/v1", "openai:m@https://evil.example/v1?concurrency=2")
    )
    assert key_of(openai).header() == {"Authorization": "Bearer sk-openai"}
    assert key_of(groq).header() == {}
    assert key_of(other).header() == {}
    assert Address.parse("openai:m@https://api.openai.com.evil.example/v1").key_name == "TUTELAGE_API_KEY"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://own.example/v1")
    assert key_of(Address.parse("openai:m")).header() == {"Authorization": "Bearer sk-openai"}
    assert key_of(other.having({"key_env": "OPENAI_API_KEY"}))


def test_keys_come_from_dotenv_where_the_environment_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = Address.parse("openai:m@https://api.mistral.ai/v1")
    assert not key_of(address)
    (tmp_path / ".env").write_text('# mine\nOTHER=1\nexport MISTRAL_API_KEY="from file" \n')
    with pytest.raises(SettingsError, match="MISTRAL_API_KEY contains characters"):
        key_of(address)
    (tmp_path / ".env").write_text("MISTRAL_API_KEY=from-file # comment\n")
    assert key_of(address).header() == {"Authorization": "Bearer from-file"}
    monkeypatch.setenv("MISTRAL_API_KEY", "from-environment")
    key = key_of(address)
    assert key.header() == {"Authorization": "Bearer from-environment"}
    assert "environment" not in repr(key)
    assert key.scrub("said from-environment!") == "said [key]!"


def test_the_guide_names_the_options_and_keys_that_there_are():
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "endpoints.md").read_text()
    rows = [line.split("|")[1:-1] for line in guide.splitlines() if line.startswith("| ") and "`" in line]
    options = {word for cells in rows if len(cells) == 3 for word in re.findall(r"`(\w+)`", cells[0])}
    assert options == {f.name for f in dataclasses.fields(Address)} - {"model", "base"}
    keys = {cells[0].strip(): cells[1].strip(" `") for cells in rows if len(cells) == 2 and cells[1].strip(" `").endswith("_KEY")}
    for host, name in keys.items():
        if " " not in host:
            assert Address.parse(f"openai:m@https://{host}/v1").key_name == name
    assert len(keys) == 12
