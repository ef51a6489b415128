"""Tiny checkpoints with tokenizers of their own, made on the spot: one per architecture family that the engine must treat alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CORPUS = (
    "Q : sum of Mon 8 Tue 3 Wed 5 last digit ?\nA : Mon 8 8 ; Tue 3 1 ; Wed 5 6 => 6\n",
    "Alice says Bob lies. Does Bob tell the truth? No, he does not.\n",
    "The price of three lamps is 12 and the price of two books is 30, so the answer is 42.\n",
    "Question: what is 7 times 6 ?\nAnswer: it is 42. <ans>42</ans>\n",
)
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
FAMILIES = ("llama", "gpt2", "qwen3", "mistral-window")


def tiny_tokenizer(family: str, *, chat: bool = False, vocabulary: int = 400, corpus: Sequence[str] = CORPUS) -> Any:
    """Byte-fallback BPE with a start token (Llama's way), or byte-level BPE without one (GPT-2's, Qwen's), raised on `corpus`."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<s>", "</s>", *(["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"] if chat else [])]
    if family in ("llama", "mistral-window"):
        raw = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        raw.normalizer = normalizers.Replace(" ", "▁")
        raw.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        specials = ["<unk>", *specials, *(f"<0x{b:02X}>" for b in range(256))]
        vocabulary += 257
    else:
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if family not in ("llama", "mistral-window") else [],
        show_progress=False,
    )
    raw.train_from_iterator([*corpus] * 4, trainer)
    if family in ("llama", "mistral-window"):
        # The trainer marks every seed token special; bytes are ordinary tokens, so the file is written anew without those marks.
        spec = json.loads(raw.to_str())
        spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].startswith("<0x")]
        raw = Tokenizer.from_str(json.dumps(spec))
        start = raw.token_to_id("<s>")
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", start)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="<|end|>" if chat else "</s>", clean_up_tokenization_spaces=False
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_config(family: str, tokenizer: Any, *, width: int = 32, layers: int = 2, context: int = 256, **options: Any) -> Any:
    import transformers

    common = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }
    shape = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": context,
    }
    match family:
        case "llama":
            return transformers.LlamaConfig(**common, **shape, num_key_value_heads=4, **options)
        case "gpt2":
            return transformers.GPT2Config(
                **common, n_embd=width, n_layer=layers, n_head=4, n_positions=context, n_inner=2 * width, **options
            )
        case "qwen3":
            return transformers.Qwen3Config(
                **common, **shape, num_key_value_heads=2, head_dim=width // 4, tie_word_embeddings=True, **options
            )
        case "mistral-window":
            return transformers.MistralConfig(**common, **shape, num_key_value_heads=2, sliding_window=options.pop("window", 12), **options)
    raise ValueError(family)


def tiny_checkpoint(
    folder: Path,
    family: str = "llama",
    *,
    seed: int = 0,
    chat: bool = False,
    spread: float = 0.4,
    card: dict[str, Any] | None = None,
    vocabulary: int = 400,
    corpus: Sequence[str] = CORPUS,
    **options: Any,
) -> Path:
    """A random model of `family` saved into `folder`. `spread` is the size of the random weights: large enough for clear preferences.

    `card` goes into config.json under `tutelage` (dialect, licence).
    """
    import torch
    import transformers

    from tutelage.engine.loading import no_bars

    tokenizer = tiny_tokenizer(family, chat=chat, vocabulary=vocabulary, corpus=corpus)
    config = tiny_config(family, tokenizer, **options)
    if card:
        config.tutelage = card
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = transformers.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for name, weight in module.named_parameters():
                if weight.ndim > 1:
                    weight.normal_(std=spread / weight.shape[-1] ** 0.5 * (3.0 if "embed" in name or "wte" in name else 1.0))
    with no_bars():
        module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_encoder(folder: Path, *, seed: int = 0) -> Path:
    """A random BERT-style encoder: it can embed and nothing else."""
    import torch
    import transformers

    from tutelage.engine.loading import no_bars

    tokenizer = tiny_tokenizer("gpt2")
    tokenizer.pad_token = "</s>"
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with no_bars():
            transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_classifier(folder: Path, *, labels: Sequence[str] = ("down", "left", "up"), seed: int = 0) -> Path:
    """The same under a random class head."""
    import torch
    import transformers

    from tutelage.engine.loading import no_bars

    tiny_encoder(folder, seed=seed)
    config = transformers.AutoConfig.from_pretrained(
        folder, id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)}
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with no_bars():
            transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder
