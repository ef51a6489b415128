import subprocess
import sys

import pytest

from checkpoints import tiny_checkpoint
from tutelage import backends
from tutelage.errors import DataError, EndpointError, SettingsError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bundeld:teacher", "did you mean 'bundled'"),
        ("bundled:teachr", "did you mean 'teacher'"),
        ("scripted:ecko", "did you mean 'echo'"),
        ("Qwen/Qwen3-0.6B", "did you mean 'hf:Qwen/Qwen3-0.6B'"),
        ("gpt-9", "forms: bundled:teacher"),
        ("hf:", "says nothing after"),
        ("openai:@http://127.0.0.1/v1", "has no model"),
    ],
)
def test_a_wrong_name_says_what_was_meant(name, said):
    with pytest.raises(SettingsError) as caught:
        backends.resolve(name)
    assert said in str(caught.value)
    assert caught.value.got is not None


def test_a_folder_or_file_named_without_its_kind_is_recognised(tmp_path):
    with pytest.raises(SettingsError, match=f"did you mean 'hf:{tmp_path}'"):
        backends.resolve(str(tmp_path))
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(SettingsError, match="did you mean 'recorded:"):
        backends.resolve(str(tmp_path / "a.jsonl"))


def test_a_hub_id_without_network_is_an_outside_error_with_the_way_out():
    with pytest.raises(EndpointError, match=r"(?s)neither a local folder.*nobody/nothing.*hf:FOLDER"):
        backends.resolve("hf:nobody/nothing")
    with pytest.raises(DataError, match="does not exist"):
        backends.resolve("hf:./nobody/nothing/here")


def test_unknown_options_are_refused(tmp_path):
    ref = backends.resolve(f"hf:{tiny_checkpoint(tmp_path)}")
    with pytest.raises(SettingsError, match=r"(?s)no option 'devise'.*'device'"):
        backends.open_backend(ref, devise="cpu")
    with pytest.raises(SettingsError, match="unknown device"):
        backends.open_backend(ref, device="abacus")
    with pytest.raises(SettingsError, match="unknown dtype"):
        backends.open_backend(ref, dtype="float7")
    with pytest.raises(SettingsError, match="threads"):
        backends.open_backend(ref, threads=0)


def test_a_model_trained_here_is_opened_by_its_folder(tmp_path):
    import dataclasses

    ref = backends.resolve(f"hf:{tiny_checkpoint(tmp_path)}")
    fitted = dataclasses.replace(ref, name="fit:b2-0123")
    assert backends.facts(fitted) == backends.facts(ref)
    assert hasattr(backends.open_backend(fitted), "generate")
    assert fitted.id == ref.id, "the name is no part of the identity"


def test_names_and_facts_load_no_torch():
    code = """
import sys
from tutelage import backends
for name in ("bundled:student", "bundled:teacher", "scripted:echo", "openai:some-model@http://127.0.0.1:9/v1"):
    assert backends.facts(backends.resolve(name)).capabilities
print([m for m in ("torch", "transformers") if m in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
