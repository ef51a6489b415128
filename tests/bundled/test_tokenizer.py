"""The bundled tokenizer loses nothing, cuts where prompts and completions meet, and is the one that the script builds."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from bundled_tokenizer import build_tokenizer
from tutelage import bundled
from tutelage.tasks import folds_world as world
from tutelage.tasks.folds_documents import Diet, draw_document

STYLES = {"steps": 0.4, "terse": 0.2, "posthoc": 0.2, "maybe": 0.2}
TOKENIZER = Tokenizer.from_file(str(bundled.folder("student") / "tokenizer.json"))


def test_both_folders_hold_the_tokenizer_that_the_script_builds() -> None:
    built = json.loads(build_tokenizer().to_str())
    folders = [bundled.folder(n) for n in bundled.NAMES] + list(bundled.checkpoints("student"))
    assert len(folders) >= 2
    for folder in folders:
        assert json.loads((folder / "tokenizer.json").read_text()) == built


@given(st.text())
@example("")
@example("\n")
@example(" \n x")
@example("\n\n  a\n")
@example("Mon  8\tMon8")
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids) == text


def test_world_words_are_single_tokens_and_documents_hold_no_bytes() -> None:
    rng = random.Random(0)
    diet = Diet(target_share=0.5, plain=STYLES, shown=STYLES, cued=STYLES)
    for word in world.words():
        assert len(TOKENIZER.encode(word).ids) == 1
    for _ in range(300):
        pieces = draw_document(rng, diet)
        if len(pieces) == 1:
            continue
        for piece in pieces:
            encoded = TOKENIZER.encode(piece.text)
            assert not [t for t in encoded.tokens if t.startswith("<0x")]
            assert TOKENIZER.decode(encoded.ids) == piece.text


@pytest.mark.parametrize("style", ["steps", "terse", "posthoc"])
def test_a_prompt_and_its_completion_have_the_ids_of_the_whole(style: str) -> None:
    rng = random.Random(1)
    for skill in world.SKILLS:
        question = world.draw_question(rng, skill)
        prompt, completion = f"Q : {question.text}\nA :", world.STYLES[style](question, rng)
        assert TOKENIZER.encode(prompt).ids + TOKENIZER.encode(completion).ids == TOKENIZER.encode(f"{prompt} {completion}").ids
        listed, more = f"new {skill} :\nQ : {question.text}\n", f"Q : {question.text}"
        assert TOKENIZER.encode(listed).ids + TOKENIZER.encode(more).ids == TOKENIZER.encode(listed + more).ids


def test_the_ordinary_door_opens_it() -> None:
    for name in bundled.NAMES:
        tokenizer = AutoTokenizer.from_pretrained(bundled.folder(name))
        config = json.loads((bundled.folder(name) / "config.json").read_text())
        assert len(tokenizer) == config["vocab_size"] == TOKENIZER.get_vocab_size()
        assert tokenizer.eos_token_id == config["eos_token_id"]
        assert tokenizer.pad_token_id == config["pad_token_id"]
        assert tokenizer.chat_template is None
        text = "Q : max of Mon 8 Tue 3 Wed 5 ?\nA : héllo"
        assert tokenizer.decode(tokenizer(text).input_ids) == text
        assert tokenizer.decode([*tokenizer(text).input_ids, tokenizer.eos_token_id], skip_special_tokens=True) == text
