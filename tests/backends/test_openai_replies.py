"""Reading what servers send: replies, schemas, answers that hold JSON."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.backends.address import Key
from tutelage.backends.asks import Draw
from tutelage.backends.refusals import named_wait_s
from tutelage.backends.replies import Malformed, apportion, completions, cut_at, error_words, read, scored_echo, scored_ids, vectors
from tutelage.backends.schema import json_in, misfit, read_schema
from tutelage.capabilities import Sampling
from tutelage.errors import SettingsError
from tutelage.records import Prompt


def job(count=1, **sampling):
    return Draw(prompt=Prompt.user("x"), sampling=Sampling(max_tokens=9, temperature=1.0, **sampling), index=0, count=count)


def choice(text, **more):
    return {"message": {"content": text}, "finish_reason": "stop", **more}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"3", b'"text"', b"null", b'{"error": {"message": "busy"}}', b'{"error": "busy"}'],
)
def test_bodies_that_are_no_reply(body):
    with pytest.raises(Malformed):
        read(body)


@pytest.mark.parametrize(
    "reply",
    [{}, {"choices": None}, {"choices": [{"message": "text"}]}, {"choices": [{"text": 3}]}, {"choices": [{"message": {"content": 3}}]}],
)
def test_replies_that_hold_no_answer(reply):
    with pytest.raises(Malformed):
        completions(reply, job())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["choices", "message", "content", "usage", "text", "index"]), inner)
    ),
    max_leaves=20,
)


@given(json_values)
def test_no_reply_whatever_breaks_the_reader(value):
    for reader in (
        lambda v: completions(v, job(2)),
        lambda v: vectors(v, ["a"]),
        lambda v: scored_ids(v, 1, [2]),
        lambda v: scored_echo(v, 1, 2),
    ):
        with contextlib.suppress(Malformed):
            reader(read(json.dumps(value).encode()))


@pytest.mark.parametrize(
    "usage", [None, {}, 3, {"prompt_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": 1, "completion_tokens": "2"}]
)
def test_bills_that_cannot_be_read_are_none(usage):
    answers, bill = completions({"choices": [choice("a")], "usage": usage}, job())
    assert bill is None
    assert answers == [{"text": "a", "finish": "stop", "prompt_tokens": 0, "completion_tokens": 0}]


def test_samples_come_in_their_own_order_and_at_most_as_many_as_asked():
    reply = {
        "choices": [choice("b", index=1), choice("a", index=0), choice("c", index=2)],
        "usage": {"prompt_tokens": 4, "completion_tokens": 7},
    }
    answers, bill = completions(reply, job(2))
    assert [a["text"] for a in answers] == ["a", "b"]
    assert bill is not None
    assert sum(a["completion_tokens"] for a in answers) == bill.completion_tokens == 7
    assert [a["prompt_tokens"] for a in answers] == [4, 4]


@given(st.integers(0, 10**6), st.lists(st.integers(0, 1000), min_size=1, max_size=9))
def test_parts_add_up_and_follow_the_sizes(whole, sizes):
    parts = apportion(whole, sizes)
    assert sum(parts) == whole
    assert min(parts) >= 0
    if sum(sizes):
        assert all(abs(p - whole * s / sum(sizes)) <= 1 for p, s in zip(parts, sizes, strict=True))


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ("<think>\na\n</think>\n\nb", "b", "a"),
        ("a\n</think>\nb", "b", "a"),
        ("<think>never ends", "", "never ends"),
        ("plain", "plain", None),
        ("say <think> aloud", "say <think> aloud", None),
        ("the tags <think> and </think> are", "the tags <think> and </think> are", None),
        ("<think></think>b", "b", None),
    ],
)
def test_thoughts_left_in_the_text(content, text, reasoning):
    answer = completions({"choices": [choice(content)]}, job())[0][0]
    assert (answer["text"], answer.get("reasoning")) == (text, reasoning)


def test_stops():
    assert cut_at("a;b.c", (".", ";")) == ("a", True)
    assert cut_at("abc", ()) == ("abc", False)
    assert completions({"choices": [choice("abc", finish_reason="length")]}, job(stop=("c",)))[0][0]["finish"] == "stop"


def test_errors_of_every_form_give_their_words():
    for body, expected in (
        (b'{"error": {"message": "m", "code": "c"}}', ("c", "m")),
        (b'{"error": {"message": "m", "type": "t", "code": null}}', ("t", "m")),
        (b'{"error": "m"}', ("", "m")),
        (b'{"detail": "m"}', ("", "m")),
        (b'{"message": "m"}', ("", "m")),
        (b"plain words", ("", "plain words")),
        (b"[1]", ("", "[1]")),
    ):
        assert error_words(body) == expected


def test_waits_that_servers_name():
    assert named_wait_s({"Retry-After": "1.5"}, 0) == 1.5
    assert named_wait_s({"Retry-After": "9", "retry-after-ms": "250"}, 0) == 0.25
    assert named_wait_s({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, 20.0) == 40.0
    assert named_wait_s({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, 90.0) == 0.0
    assert named_wait_s({"Retry-After": "soon"}, 0) is None
    assert named_wait_s({}, 0) is None


def test_echoed_scores_split_at_the_border():
    reply = {"choices": [{"logprobs": {"token_logprobs": [None, -1.0, -2.0, -3.0], "text_offset": [0, 2, 5, 8]}}]}
    assert scored_echo(reply, 5, 3)[0] == {"scored": [-2.0], "prompt_tokens": 2}
    assert scored_echo(reply, 4, 4)[0] == {"scored": [-1.0, -2.0], "prompt_tokens": 1}
    with pytest.raises(Malformed):
        scored_echo(reply, 0, 8)


def test_a_key_cannot_be_written():
    import pickle

    with pytest.raises(TypeError, match="not written"):
        pickle.dumps(Key("A", "secret"))
    assert "secret" not in f"{Key('A', 'secret')} {Key('A', 'secret')!r}"


@pytest.mark.parametrize(
    ("schema", "fits", "fails", "words"),
    [
        ({"type": "integer"}, [1, -3, 2.0], ["1", 1.5, True, None], "must be of type integer"),
        ({"type": ["string", "null"]}, ["", None], [1, []], "string or null"),
        ({"enum": ["a", 1, None]}, ["a", 1, 1.0, None], ["b", True, 0], "must be one of"),
        ({"const": {"x": [1]}}, [{"x": [1]}], [{"x": 1}], "must be"),
        ({"type": "object", "required": ["a"]}, [{"a": 1, "b": 2}], [{}, {"b": 1}], "lacks 'a'"),
        ({"properties": {"a": {"minimum": 3}}, "additionalProperties": False}, [{}, {"a": 3}], [{"a": 2}, {"z": 1}], ""),
        ({"additionalProperties": {"type": "string"}}, [{"k": "v"}], [{"k": 1}], "answer.k"),
        ({"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 2}, [[1], [1, 2.5]], [[], [1, 2, 3], ["1"], 5], ""),
        ({"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False}, [["a", 1], ["a"]], [["a", 1, 2], [1]], ""),
        ({"uniqueItems": True}, [[1, 2, "1"]], [[1, 1.0], [{"a": 1}, {"a": 1}]], "repeats"),
        ({"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-z]+$"}, ["ab", "abc"], ["a", "abcd", "AB"], ""),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, [0.5, "not a number"], [0, 1], ""),
        ({"multipleOf": 0.1}, [0.3, 1], [0.35], "multiple"),
        ({"anyOf": [{"type": "string"}, {"minimum": 5, "type": "number"}]}, ["a", 5], [4, None], "none of the alternatives"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, [1.5], [1, "a"], ""),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1, 2], [0, 3], ""),
        ({"not": {"type": "null"}}, [1], [None], "not allowed"),
        ({"minProperties": 1, "maxProperties": 1}, [{"a": 1}], [{}, {"a": 1, "b": 2}], "entries"),
        (
            {"$ref": "#/$defs/node",
             "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": False}}},
            [{}, {"next": {"next": {}}}], [{"next": {"nxt": {}}}, 3], "answer",
        ),
    ],
)  # fmt: skip
def test_schemas(schema, fits, fails, words):
    checked = read_schema(json.dumps(schema))
    assert [misfit(value, checked) for value in fits] == [None] * len(fits)
    for value in fails:
        assert words in str(misfit(value, checked) or "FITS")
        assert misfit(value, checked) is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ('{"type": "text"}', "unknown type"),
        ('{"properties": {"a": {"formula": "x"}}}', "#/properties/a"),
        ('{"pattern": "("}', "no regular expression"),
        ('{"$ref": "http://x/y"}', "another document"),
        ('{"items": 3}', "#/items"),
    ],
)
def test_schemas_that_cannot_be_judged(text, says):
    with pytest.raises(SettingsError, match=says):
        read_schema(text)


def test_references_that_lead_nowhere():
    with pytest.raises(SettingsError, match="does not have"):
        misfit(1, {"$ref": "#/$defs/absent"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('  [1, 2]\n', [1, 2]),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('Sure! Here it is:\n```\n{"a": 1}\n```\nHope it helps.', {"a": 1}),
        ('The answer is {"a": {"b": "}"}} as asked.', {"a": {"b": "}"}}),
        ("7", 7),
    ],
)  # fmt: skip
def test_json_in_answers(text, value):
    assert json_in(text) == value


@pytest.mark.parametrize("text", ["", "no json", '{"a": 1', "```json\n{'a': 1}\n```", "{a: 1}"])
def test_answers_without_json(text):
    with pytest.raises(ValueError, match=r"JSON"):
        json_in(text)


def test_impossible_tokens_survive():
    answer, _ = scored_ids({"choices": [{"prompt_logprobs": [None, {"7": {"logprob": -math.inf}}]}]}, 1, [7])
    assert answer == {"scored": [None], "prompt_tokens": 1}
