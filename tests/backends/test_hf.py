import pytest

from checkpoints import tiny_checkpoint, tiny_encoder
from tutelage import backends
from tutelage.capabilities import Sampling
from tutelage.errors import DataError, SettingsError
from tutelage.records import Prompt


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    return _open(tiny_checkpoint(tmp_path_factory.mktemp("m"), "gpt2", context=64, spread=1.0))


def _open(folder, **options):
    return backends.open_backend(backends.resolve(f"hf:{folder}"), **options)


def test_answers_end_where_the_context_ends(backend):
    (row,) = backend.generate([Prompt.user("z" * 50)], Sampling(max_tokens=40))
    prompt = row[0].prompt_tokens
    assert 40 < prompt < 64
    assert row[0].finish in ("length", "stop")
    assert row[0].completion_tokens <= 64 - prompt


def test_a_prompt_that_fills_the_context_is_an_answer_with_an_error(backend):
    good, full, empty = backend.generate([Prompt.user("Bob"), Prompt.user("z" * 70), Prompt.user("")], Sampling(max_tokens=4))
    assert good[0].error is None
    assert full[0].finish == empty[0].finish == "error"
    assert f"{full[0].prompt_tokens} tokens" in full[0].error
    assert "context of 64" in full[0].error
    assert "no tokens" in empty[0].error
    samples = backend.generate([Prompt.user("z" * 70)], Sampling(max_tokens=4, temperature=1.0, n=3, seed=0))
    assert [c.finish for c in samples[0]] == ["error"] * 3


def test_scoring_beyond_the_context_is_refused_with_the_lengths(backend):
    with pytest.raises(DataError, match=r"(?s)longer than.*prompt and.*context 64"):
        backend.score([Prompt.user("z" * 30)], ["z" * 40])


def test_sampling_without_a_seed_is_refused(backend):
    with pytest.raises(SettingsError, match="seed"):
        backend.generate([Prompt.user("Bob")], Sampling(max_tokens=4, temperature=1.0))


def test_sharing_can_be_switched_off_and_the_answers_stay(tmp_path):
    folder = tiny_checkpoint(tmp_path, "llama", spread=1.0)
    shared, alone = _open(folder), _open(folder, share=False, threads=1)
    prompts = [
        Prompt.user("Q : sum of Mon 8 Tue 3 ?\nA : Mon 8 8 ; Tue 3 1 => 1\n\nQ : " + q) for q in ("Mon 1", "Tue 2 Wed 5 ?", "Mon 1 Tue")
    ]
    assert shared.generate(prompts, Sampling(max_tokens=12)) == alone.generate(prompts, Sampling(max_tokens=12))
    for a, b in zip(shared.score(prompts, ["1", "2 3", ""]), alone.score(prompts, ["1", "2 3", ""]), strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_scored_text_ends_with_the_end_of_text(backend):
    tokens = backend.model.rendering.completion_ids("No, he does not.")
    (scores,) = backend.score([Prompt.user("Does Bob lie ?")], ["No, he does not."])
    assert len(scores.logprobs) == len(tokens)
    (empty,) = backend.score([Prompt.user("Does Bob lie ?")], [""])
    assert len(empty.logprobs) == 1


def test_an_encoder_cuts_long_texts_at_its_context_and_refuses_empty_ones(tmp_path):
    encoder = _open(tiny_encoder(tmp_path))
    long = encoder.embed(["z" * 300, "z" * 300])
    assert long[0] == long[1]
    with pytest.raises(DataError, match="cannot be embedded"):
        encoder.embed(["Bob", ""])


def test_stop_texts_across_tokens_and_over_bytes(backend):
    rendering = backend.model.rendering
    from tutelage.engine.stopping import StopTexts

    cases = {"Mon 8 8 ; Tue 3 => 1\n\nQ": "\n\n", "abcż\U0001f600d": "ż", "x\U0001f600y": "\U0001f600", "42 lamps": "2 la"}
    for text, stop in cases.items():
        stops, ids = StopTexts(rendering, [stop]), rendering.completion_ids(text, end=False)
        first = next(n for n in range(1, len(ids) + 1) if stop in rendering.text(ids[:n]))
        assert next(n for n in range(1, len(ids) + 1) if stops.over(ids[:n])) == first
        assert stops.text(ids) == text[: text.index(stop)]
    assert StopTexts(rendering, []).text(rendering.completion_ids("42")) == "42"
