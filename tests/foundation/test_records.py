import json
import math
import pickle
import subprocess
import sys
from copy import copy
from dataclasses import FrozenInstanceError, fields, replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import DataError, InternalError
from tutelage.records import (
    Example,
    Feedback,
    Message,
    ModelRef,
    Origin,
    Pair,
    Problem,
    Prompt,
    Scorecard,
    Solution,
    Verdict,
    decode,
    encode,
)

text = st.text(st.characters(codec="utf-8"), max_size=30)
number = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000)
whole = st.integers(0, 10**6)
plain = st.recursive(
    st.none() | st.booleans() | whole | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
context = st.dictionaries(text, plain, max_size=3)
names = st.lists(text, max_size=3).map(tuple)
numbers = st.lists(number, max_size=4).map(tuple)
origin = st.none() | st.builds(Origin, step=text, parents=names, model=st.none() | text, prompt=st.none() | text)
messages = st.lists(st.builds(Message, role=st.sampled_from(("system", "user", "assistant", "tool")), content=text), min_size=1, max_size=3)
prompt = st.builds(Prompt, messages=messages.map(tuple), kind=text)
problem = st.builds(Problem, text=text, answer=st.none() | text, skill=text, choices=names, context=context, origin=origin)
solution = st.builds(Solution, problem=problem, text=text, answer=st.none() | text, technique=text, sample=whole, origin=origin)
verdict = st.builds(Verdict, score=number, extracted=st.none() | text, parsed=st.booleans(), reason=text, item=text, origin=origin)
feedback = st.builds(
    Feedback, item=text, signal=text, value=st.none() | number, n=whole, stderr=st.none() | number, parts=numbers, model=text, origin=origin
)
pair = st.builds(Pair, prompt=prompt, chosen=text, rejected=text, kind=text, margin=st.none() | number, context=context, origin=origin)
example = st.builds(
    Example,
    prompt=prompt,
    completion=text,
    spans=st.lists(st.tuples(whole, whole, number), max_size=3).map(tuple),
    weight=number,
    label=st.none() | whole,
    context=context,
    origin=origin,
)
model = st.builds(ModelRef, name=text, digest=text, path=st.none() | text, adapter_of=st.none() | text, origin=origin)
scorecard = st.builds(
    Scorecard,
    name=text,
    task=text,
    task_version=text,
    model=text,
    value=number,
    n=whole,
    parsed=number,
    shots=whole,
    items=names,
    scores=numbers,
    by_skill=st.dictionaries(text, number, max_size=3),
    fingerprint=text,
    seed=whole,
    arm=text,
    origin=origin,
)
KINDS = (prompt, problem, solution, verdict, feedback, pair, example, model, scorecard)

SAMPLES = (
    Prompt.user("What is 2 + 2?", system="Be brief.", kind="solve.plain"),
    Problem(text="What is 2 + 2?", answer="4", skill="sums", choices=("3", "4"), context={"source": {"line": 7}}),
    Solution(problem=Problem(text="q"), text="It is 4.", answer="4", technique="steps", sample=2),
    Verdict(score=1.0, extracted="4"),
    Feedback(item="b2-1", signal="one_shot", value=0.5, n=2, stderr=0.3, parts=(0.0, 1.0), model="b2-2"),
    Pair(prompt=Prompt.user("q"), chosen="a", rejected="b", kind="rationale", margin=0.25),
    Example(prompt=Prompt.user("q"), completion="abc", spans=((0, 2, 0.5),), weight=2.0, label=1),
    ModelRef(name="hf:somewhere", digest="b2-3", path="/somewhere", adapter_of="b2-4"),
    Scorecard(name="student", task="t", task_version="1", model="b2-5", value=0.5, n=2, parsed=1.0, items=("i", "j"), scores=(0.0, 1.0)),
)


def kind(record):
    return type(record).__name__


def test_samples_and_strategies_cover_every_kind_of_record():
    from tutelage.records import _KINDS

    assert {kind(r) for r in SAMPLES} == set(_KINDS)
    assert len(KINDS) == len(_KINDS) == 9


@given(st.one_of(*KINDS))
def test_decoding_what_was_encoded_gives_an_equal_record_with_the_same_id_and_origin(record):
    line = encode(record)
    assert b"\n" not in line
    back = decode(line)
    assert back == record
    assert back.id == record.id
    assert getattr(back, "origin", None) == getattr(record, "origin", None)
    assert encode(back) == line


@given(st.one_of(problem, solution, verdict, feedback, pair, example, scorecard, model), origin)
def test_the_id_does_not_depend_on_the_origin(record, elsewhere):
    moved = replace(record, origin=elsewhere)
    assert moved.id == record.id
    assert moved == record


@given(problem, origin)
def test_the_id_does_not_depend_on_the_origin_of_a_record_inside(inner, elsewhere):
    given_here = Solution(problem=inner, text="t")
    from_elsewhere = Solution(problem=replace(inner, origin=elsewhere), text="t")
    assert given_here.id == from_elsewhere.id


@given(prompt, text)
def test_the_kind_of_a_prompt_is_no_content(given_prompt, other_kind):
    other = replace(given_prompt, kind=other_kind)
    assert other.id == given_prompt.id
    held = [Pair(prompt=p, chosen="a", rejected="b") for p in (given_prompt, other)]
    assert held[0].id == held[1].id


def test_where_weights_lie_and_what_they_were_called_is_no_content_but_lineage_is():
    ref = ModelRef(name="hf:a", digest="d", path="/a")
    assert replace(ref, name="hf:b", path="/b").id == ref.id
    assert replace(ref, digest="e").id != ref.id
    assert replace(ref, adapter_of="base").id != ref.id


@pytest.mark.parametrize("record", SAMPLES, ids=kind)
def test_every_other_field_is_content(record):
    left_out = (*type(record).NOT_CONTENT, "messages")
    for f in fields(record):
        if f.name in left_out:
            continue
        value = getattr(record, f.name)
        match value:
            case bool():
                other = not value
            case int() | float():
                other = value + 1
            case str():
                other = value + "?"
            case tuple():
                other = value[:-1] if value else ((0, 1, 0.5),) if f.name == "spans" else ("x",)
            case None:
                other = 3 if f.name in ("margin", "label", "stderr") else "x"
            case Problem() | Prompt():
                other = Problem(text="another") if isinstance(value, Problem) else Prompt.user("another")
            case _:
                other = {"another": 1.0}
        assert replace(record, **{f.name: other}).id != record.id, f.name


@given(st.one_of(*KINDS))
def test_an_id_that_was_asked_for_before_is_not_handed_on_to_another_record(record):
    fresh = decode(encode(record))
    before = record.id  # held by the record from here on
    assert before == record.id == fresh.id
    for copied in (pickle.loads(pickle.dumps(record)), copy(record)):  # noqa: S301
        assert (copied, copied.id) == (record, before)
    assert "_id" not in {f.name for f in fields(record)}
    if isinstance(record, Prompt):
        assert replace(record, messages=(*record.messages, Message(role="user", content="and"))).id != before


def test_two_kinds_of_records_with_the_same_fields_have_different_ids():
    assert Prompt.user("x").id != Problem(text="x").id


def test_ids_are_the_same_in_another_process_and_whatever_the_order_of_keys():
    a = Problem(text="q", context={"a": 1, "b": {"c": [1, 2]}})
    b = Problem(text="q", context={"b": {"c": [1, 2]}, "a": 1})
    assert a.id == b.id
    program = "from tutelage.records import Problem; print(Problem(text='q', context={'b': {'c': [1, 2]}, 'a': 1}).id)"
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert there.stdout.strip() == a.id


@pytest.mark.parametrize("record", SAMPLES, ids=kind)
def test_records_are_frozen(record):
    name = fields(record)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(record, name, "other")
    assert hash(record) == hash(replace(record))


def test_a_whole_number_in_a_field_of_fractions_is_the_same_number():
    assert Verdict(score=1).id == Verdict(score=1.0).id
    assert Example(prompt=Prompt.user("q"), completion="abc", spans=((0, 2, 1),), weight=2).id == (
        Example(prompt=Prompt.user("q"), completion="abc", spans=((0, 2, 1.0),), weight=2.0).id
    )
    assert decode(encode(Verdict(score=True))) == Verdict(score=1.0)
    assert Example(prompt=Prompt.user("q"), completion="abc", spans=((0, 2, 1),)).spans == ((0, 2, 1.0),)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_cannot_hold_is_refused_when_the_record_is_made(value):
    with pytest.raises(InternalError, match=r"Feedback.value must be a finite number\n  got: (nan|-?inf)\n  fix: .*None"):
        Feedback(item="i", signal="s", value=value)
    with pytest.raises(InternalError, match=r"Feedback\.parts"):
        Feedback(item="i", signal="s", value=None, parts=(1.0, value))


def test_numbers_of_numpy_become_plain_numbers():
    import numpy as np

    record = Feedback(item="i", signal="s", value=np.float64(0.25), parts=(np.float32(0.5),))
    assert decode(encode(record)) == Feedback(item="i", signal="s", value=0.25, parts=(0.5,))


# -- refusals ------------------------------------------------------------------------------------------------------------------


def edited(record, **changes):
    row = orjson.loads(encode(record))
    row["record"] |= changes
    return orjson.dumps(row)


@pytest.mark.parametrize("record", SAMPLES, ids=kind)
def test_an_unknown_field_is_refused_and_named(record):
    with pytest.raises(DataError) as refusal:
        decode(edited(record, colour="blue"))
    assert kind(record) in str(refusal.value)
    assert "colour" in str(refusal.value)


def test_an_unknown_field_deep_inside_is_refused():
    row = orjson.loads(encode(Solution(problem=Problem(text="q", origin=Origin(step="s")), text="t")))
    row["record"]["problem"]["origin"]["colour"] = "blue"
    with pytest.raises(DataError, match="colour"):
        decode(orjson.dumps(row))


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (SAMPLES[1], {"text": 3}),
        (SAMPLES[1], {"choices": "34"}),
        (SAMPLES[2], {"sample": "2"}),
        (SAMPLES[3], {"score": "1.0"}),
        (SAMPLES[3], {"parsed": 1}),
        (SAMPLES[4], {"parts": [0.0, None]}),
        (SAMPLES[6], {"spans": [[0, 2]]}),
        (SAMPLES[7], {"digest": None}),
        (SAMPLES[8], {"n": 2.5}),
    ],
)
def test_a_wrong_type_is_refused_and_the_field_named(record, changes):
    with pytest.raises(DataError) as refusal:
        decode(edited(record, **changes))
    assert next(iter(changes)) in str(refusal.value)


def test_a_missing_field_is_refused():
    row = orjson.loads(encode(SAMPLES[3]))
    del row["record"]["score"]
    with pytest.raises(DataError, match="score"):
        decode(orjson.dumps(row))


@pytest.mark.parametrize("record", SAMPLES[1:], ids=kind)
def test_a_line_edited_by_hand_no_longer_hashes_to_its_id(record):
    field, other = next((f.name, v + "!") for f in fields(record) if isinstance(v := getattr(record, f.name), str))
    if field in type(record).NOT_CONTENT:
        field, other = "digest", "b2-9"
    with pytest.raises(InternalError, match="does not hash to its own id"):
        decode(edited(record, **{field: other}))


def test_an_edited_prompt_no_longer_hashes_to_its_id():
    with pytest.raises(InternalError, match="does not hash to its own id"):
        decode(edited(SAMPLES[0], messages=[{"role": "user", "content": "What is 2 + 3?"}]))


def test_a_type_of_another_version_is_refused_with_the_known_ones():
    with pytest.raises(DataError) as refusal:
        decode(json.dumps({"type": "Rubric", "id": "b2-0", "record": {}}))
    assert refusal.value.got == "Rubric"
    assert "Solution" in str(refusal.value.fix)


@pytest.mark.parametrize(
    "line", ["", "{", "null", "[]", "3", '{"type": "Problem"}', '{"record": {}}', '{"type": "Problem", "id": "b2-0", "rec']
)
def test_a_line_that_is_no_record_is_refused(line):
    with pytest.raises(DataError, match="damaged or was edited"):
        decode(line)
