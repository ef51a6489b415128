"""Files that were written here go through TRL's own trainers: columns recognised, rows tokenised, one step made, no warning."""

import logging
from dataclasses import replace

import pytest

from tutelage.formats import write
from tutelage.formats.cells import DESIRABLE
from tutelage.records import Example, Message, Pair, Prompt

pytest.importorskip("trl", reason="TRL is an extra for tests")

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
WORDS = [*map(chr, range(32, 127)), "<pad>", "<eos>", "<unk>"]
"""One token per character, so that a prompt's tokens begin those of prompt and completion together."""


def model_and_tokenizer(*, rates=False):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", chat_template=TEMPLATE
    )
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": len(WORDS)}
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    if rates:
        return LlamaForSequenceClassification(LlamaConfig(**sizes, **ids, num_labels=1)), tokenizer
    return LlamaForCausalLM(LlamaConfig(**sizes, **ids)), tokenizer


def train(kind, path, folder, **settings):
    import trl
    from datasets import load_dataset

    model, tokenizer = model_and_tokenizer(rates=kind == "Reward")
    model.save_pretrained(folder / "model")  # DPO and KTO open their reference from there
    model = type(model).from_pretrained(folder / "model")
    config = getattr(trl, f"{kind}Config")(
        output_dir=str(folder), max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False, disable_tqdm=True,
        save_strategy="no", logging_strategy="no", **settings,
    )  # fmt: skip
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder / "cache"))
    trainer = getattr(trl, f"{kind}Trainer")(model=model, args=config, train_dataset=rows, processing_class=tokenizer)
    return trainer.train().training_loss


def example(text, reply, **context):
    return Example(prompt=Prompt.user(text), completion=reply, context=context)


PAIRS = [Pair(prompt=Prompt.user(a), chosen="a b", rejected="c d") for a in "efgh"]
SINGLE = [example(a, "b c d") for a in "efgh"]
TURNS = [
    Example(prompt=Prompt(messages=(Message(role="system", content="h"), Message(role="user", content=a))), completion="b") for a in "efgh"
]
LABELS = [example(a, "b c", **{DESIRABLE: a in "eg"}) for a in "efgh"]


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # of the trainer's own settings, not of the data
@pytest.mark.parametrize(
    ("kind", "shape", "records", "chat"),
    [
        ("SFT", "prompt-completion", SINGLE, False),
        ("SFT", "messages", TURNS, None),
        ("DPO", "preference", PAIRS, True),
        ("KTO", "label", LABELS, True),
        ("Reward", "preference", PAIRS, True),
        ("Reward", "preference", [replace(p, margin=0.5) for p in PAIRS], True),
    ],
)
def test_trainers_take_the_files_as_they_are(kind, shape, records, chat, tmp_path, caplog):
    path = tmp_path / "x.jsonl"
    write(path, records, shape=shape, chat=chat)
    with caplog.at_level(logging.WARNING):
        loss = train(kind, path, tmp_path)
    assert loss > 0
    assert [record.getMessage() for record in caplog.records] == []
