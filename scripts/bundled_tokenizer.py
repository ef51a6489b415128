"""The tokenizer of the bundled pair."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers

from tutelage.tasks.folds_world import words

EOS, PAD = "<eos>", "<pad>"
CONTEXT_TOKENS = 256


def build_tokenizer() -> Tokenizer:
    """Whole words of the world as single tokens, single bytes for all else, nothing lost on the way.

    A word token carries the space in front of it. So that a word at the start of a line is the same token, lines get a space in front
    when encoding, which decoding takes away again. A text tokenized in two parts, cut in front of a space, gives the ids of the whole.
    """
    pieces = [PAD, EOS, *(f"<0x{b:02X}>" for b in range(256)), "\n", *(f" {w}" for w in words())]
    # Every piece costs the same, so the segmentation with the fewest pieces wins; bytes come in only where no piece fits.
    tokenizer = Tokenizer(models.Unigram([(p, -1.0) for p in pieces], unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Prepend(" "),
            normalizers.Replace(Regex(r"\A \n"), "\n"),
            normalizers.Replace(Regex(r"\n(?=[^\n])"), "\n "),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([PAD, EOS])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": CONTEXT_TOKENS,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that is known to be there."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"the tokenizer has no token {token!r}")
    return found
