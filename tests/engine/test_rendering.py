import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpoints import tiny_tokenizer
from tutelage.engine.rendering import rendering_of
from tutelage.errors import DataError
from tutelage.records import Message, Prompt

LLAMA = rendering_of(tiny_tokenizer("llama"))
GPT2 = rendering_of(tiny_tokenizer("gpt2"), stop_ids=frozenset({0}))
CHAT = rendering_of(tiny_tokenizer("qwen3", chat=True))
ALL = pytest.mark.parametrize("rendering", [LLAMA, GPT2, CHAT], ids=["llama", "gpt2", "chat"])


@ALL
@settings(max_examples=60, suppress_health_check=[HealthCheck.differing_executors])
@given(text=st.text(max_size=40).map(lambda t: t.encode("utf-8", "ignore").decode()))
def test_completion_ids_turn_back_into_their_text(rendering, text):
    if rendering is LLAMA:  # its space sign is a letter of its own alphabet
        text = text.replace("▁", "_")
    ids = rendering.completion_ids(text)
    assert ids[-1] == rendering.eos_id
    assert rendering.text(ids) == text
    assert rendering.text(rendering.completion_ids(text, end=False)) == text


@ALL
def test_special_tokens_written_out_stay_text(rendering):
    text = "a</s>b<|end|>c<s>"
    ids = rendering.completion_ids(text)
    assert rendering.text(ids) == text
    assert not set(ids[:-1]) & set(rendering.tokenizer.all_special_ids)


def test_start_token_comes_from_the_tokenizers_own_post_processor():
    prompt = Prompt.user("Mon 8")
    assert LLAMA.prompt_ids(prompt)[0] == LLAMA.tokenizer.bos_token_id
    assert GPT2.prompt_ids(prompt) == GPT2.completion_ids("Mon 8", end=False)
    assert LLAMA.completion_ids("Mon 8")[0] != LLAMA.tokenizer.bos_token_id


def test_an_end_of_text_behind_the_prompt_is_cut_off():
    from tokenizers import processors

    tokenizer = tiny_tokenizer("gpt2")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)]
    )
    ids = rendering_of(tokenizer).prompt_ids(Prompt.user("Mon 8"))
    assert ids == [tokenizer.bos_token_id, *GPT2.completion_ids("Mon 8", end=False)]


def test_prompts_go_through_the_chat_template_up_to_the_answer():
    prompt = Prompt(messages=(Message(role="system", content="Be brief."), Message(role="user", content="7 times 6 ?")))
    text = CHAT.tokenizer.decode(CHAT.prompt_ids(prompt))
    assert text == "<|system|>Be brief.<|end|><|user|>7 times 6 ?<|end|><|assistant|>"
    assert CHAT.completion_ids("42")[-1] == CHAT.tokenizer.convert_tokens_to_ids("<|end|>")
    plain = rendering_of(tiny_tokenizer("qwen3"))
    assert plain.text(plain.prompt_ids(prompt)) == "Be brief.\n\n7 times 6 ?"


def test_a_template_that_refuses_is_the_users_error():
    tokenizer = tiny_tokenizer("qwen3", chat=True)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match=r"(?s)refuses.*alternate"):
        rendering_of(tokenizer).prompt_ids(Prompt.user("x"))


def test_stop_ids_join_tokenizer_and_configuration():
    assert GPT2.stop_ids == {0, GPT2.tokenizer.eos_token_id}
    assert GPT2.eos_id == GPT2.tokenizer.eos_token_id
    tokenizer = tiny_tokenizer("gpt2")
    tokenizer.eos_token = None
    endless = rendering_of(tokenizer)
    assert endless.eos_id is None
    assert endless.completion_ids("a") == endless.completion_ids("a", end=False)


@ALL
def test_span_weights_reach_the_right_tokens(rendering):
    text = "Mon 8 8 ; Tue 3 1 => 1"
    start = text.index("Tue")
    ids, weights = rendering.weighted_completion(text, [(0, start, 0.0), (len(text) - 1, len(text), 5.0)])
    assert len(ids) == len(weights)
    assert weights[-1] == 1.0, "the end of text is not named by a span"
    zero = [i for i, w in zip(ids, weights, strict=True) if w == 0]
    assert rendering.text(zero).strip() in text[:start]
    assert len(rendering.text(zero).strip()) >= start - 2
    assert max(weights) > 1


@ALL
def test_a_straddling_token_weighs_the_mean_and_later_spans_win(rendering):
    text = "lamps"
    _, (*weights, end) = rendering.weighted_completion(text, [(0, 6, 2.0), (1, 3, 0.0)])
    assert end == 2.0
    lengths = [stop - start for start, stop in rendering._offsets(text)]
    assert sum(w * n for w, n in zip(weights, lengths, strict=True)) == pytest.approx(6.0)


def test_without_spans_everything_weighs_one_and_bad_spans_are_refused():
    ids, weights = LLAMA.weighted_completion("żółw 1")
    assert weights == [1.0] * len(ids)
    ids, weights = LLAMA.weighted_completion("ż1", [(0, 1, 0.25)])
    assert weights == [0.25, 0.25, 1.0, 1.0], "both bytes of the letter weigh what the letter weighs"
    with pytest.raises(DataError, match=r"(?s)outside.*\(0, 9\)"):
        LLAMA.weighted_completion("abc", [(0, 9, 0.0)])


def test_an_empty_completion_is_the_end_alone():
    assert LLAMA.weighted_completion("") == ([LLAMA.eos_id], [1.0])
