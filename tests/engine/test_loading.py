import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from checkpoints import FAMILIES, tiny_checkpoint, tiny_encoder
from tutelage.engine.digest import digest_of, facts_of, inspect_folder
from tutelage.engine.loading import open_model, quiet_peft, save_model
from tutelage.errors import DataError, SettingsError, StorageError


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("llama"), card={"dialect": "folds", "licence": "Apache-2.0"})


@pytest.mark.parametrize("family", FAMILIES)
def test_saving_again_keeps_weights_and_digest(tmp_path, family):
    opened = open_model(tiny_checkpoint(tmp_path / "one", family), device="cpu")
    again = open_model(save_model(opened.module, opened.rendering, tmp_path / "two"), device="cpu")
    assert again.digest == opened.digest
    for (name, a), (other, b) in zip(opened.module.named_parameters(), again.module.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(a, b)
    assert facts_of(again.folder).parameters == sum(p.numel() for p in opened.module.parameters())


def test_digest_changes_with_weights_tokenizer_template_and_stop_ids(tmp_path, llama):
    digests = {digest_of(inspect_folder(llama))}
    digests.add(digest_of(inspect_folder(tiny_checkpoint(tmp_path / "seed", seed=1))))
    digests.add(digest_of(inspect_folder(tiny_checkpoint(tmp_path / "chat", chat=True))))
    for name, edit in {
        "rope": lambda f: _edit(f / "config.json", hidden_act="gelu"),
        "ends": lambda f: _edit(f / "generation_config.json", eos_token_id=[2, 7]),
        "template": lambda f: (f / "chat_template.jinja").write_text("{{ messages[0]['content'] }}"),
    }.items():
        shutil.copytree(llama, tmp_path / name)
        edit(tmp_path / name)
        digests.add(digest_of(inspect_folder(tmp_path / name)))
    assert len(digests) == 6


def test_digest_sees_a_file_that_changed_in_place(tmp_path, llama):
    shutil.copytree(llama, tmp_path / "m")
    before = digest_of(inspect_folder(tmp_path / "m"))
    tiny_checkpoint(tmp_path / "m", seed=5)
    assert digest_of(inspect_folder(tmp_path / "m")) != before


def test_bf16_files_are_opened_as_float32_with_the_same_values(tmp_path):
    folder = tiny_checkpoint(tmp_path / "full")
    opened = open_model(folder, device="cpu")
    half = save_model(opened.module.to(torch.bfloat16), opened.rendering, tmp_path / "half")
    again = open_model(half, device="cpu")
    assert {p.dtype for p in again.module.parameters()} == {torch.float32}
    assert torch.equal(again.module.lm_head.weight, opened.module.lm_head.weight.float())


def test_facts_need_no_weights_in_memory_and_no_torch(llama):
    code = (
        "import sys; from tutelage.engine.digest import inspect_folder, facts_of, digest_of; f = inspect_folder(sys.argv[1]);"
        "print(facts_of(f).dialect, facts_of(f).licence, facts_of(f).context_tokens, digest_of(f), 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(llama)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["folds", "Apache-2.0", "256", digest_of(inspect_folder(llama)), "False"]


def test_an_encoder_can_embed_and_be_trained(tmp_path):
    folder = inspect_folder(tiny_encoder(tmp_path))
    assert facts_of(folder).capabilities == {"embed", "train"}
    assert facts_of(folder).context_tokens == 64


def test_adapter_folder_opens_on_its_base_and_has_its_own_digest(tmp_path, llama):
    from peft import LoraConfig, get_peft_model

    opened = open_model(llama, device="cpu")
    with quiet_peft():
        peft = get_peft_model(opened.module, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in peft.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.05)
    peft.save_pretrained(str(tmp_path / "adapter"))
    adapter = inspect_folder(tmp_path / "adapter")
    assert adapter.base is not None
    assert digest_of(adapter) != digest_of(adapter.base)
    assert facts_of(adapter).dialect == "folds"
    again = open_model(tmp_path / "adapter", device="cpu", trainable=True)
    ids = torch.tensor([[1, 300, 310, 320]])
    with torch.no_grad():
        assert torch.allclose(again.module(ids).logits, peft.eval()(ids).logits, atol=1e-6)
    trainable = {name for name, p in again.module.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora" in name for name in trainable)
    _edit(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path="nobody/nothing")
    with pytest.raises(DataError, match=r"(?s)base model.*nobody/nothing.*fix"):
        inspect_folder(tmp_path / "adapter")


def _edit(path: Path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def test_what_is_not_a_model_is_refused_by_name(tmp_path, llama):
    with pytest.raises(DataError, match=r"(?s)does not exist.*nowhere.*fix"):
        inspect_folder(tmp_path / "nowhere")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"(?s)config.json is missing.*a.txt.*fix"):
        inspect_folder(tmp_path / "notes")
    with pytest.raises(DataError, match="is a file"):
        inspect_folder(tmp_path / "notes" / "a.txt")

    bare = _copy(llama, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    with pytest.raises(DataError, match="no weights"):
        inspect_folder(bare)
    torch.save({}, bare / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"(?s)pickle.*pytorch_model.bin.*safe_serialization"):
        inspect_folder(bare)

    broken = _copy(llama, tmp_path / "broken")
    (broken / "config.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        inspect_folder(broken)

    cut = _copy(llama, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((llama / "model.safetensors").read_bytes()[:100])
    with pytest.raises(StorageError, match="damaged"):
        facts_of(inspect_folder(cut))

    odd = _copy(llama, tmp_path / "odd")
    _edit(odd / "config.json", architectures=["T5ForConditionalGeneration"])
    with pytest.raises(DataError, match=r"(?s)neither.*T5For"):
        facts_of(inspect_folder(odd))

    custom = _copy(llama, tmp_path / "custom")
    _edit(custom / "config.json", model_type="mine", auto_map={"AutoModelForCausalLM": "modeling_mine.MineForCausalLM"})
    (custom / "modeling_mine.py").write_text("raise RuntimeError('this code ran')")
    with pytest.raises(SettingsError, match=r"(?s)custom code.*mine.*openai:"):
        facts_of(inspect_folder(custom))


def test_weights_that_do_not_fill_the_model_are_refused(tmp_path, llama):
    more = _copy(llama, tmp_path / "more")
    _edit(more / "config.json", num_hidden_layers=3)
    with pytest.raises(DataError, match=r"(?s)do not fill.*layers.2"):
        open_model(more, device="cpu")


def test_a_missing_tokenizer_is_named(tmp_path, llama):
    bare = _copy(llama, tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    with pytest.raises(DataError, match=r"(?s)tokenizer.*fix"):
        open_model(bare, device="cpu")
