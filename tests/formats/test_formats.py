import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import DataError, SettingsError, UserError
from tutelage.formats import FORMATS, convert, read, validate, write
from tutelage.formats.cells import ALPACA_INPUT, DESIRABLE
from tutelage.formats.shapes import SHAPES
from tutelage.records import Example, Message, Pair, Problem, Prompt

said = st.text(min_size=1, max_size=40).filter(lambda text: text.strip() and not text.lstrip().startswith('[{"'))
values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
contexts = st.dictionaries(st.sampled_from(["source", "level", "note"]), values.filter(lambda v: v is not None), max_size=3)


@st.composite
def prompts(draw, roles=("system", "user", "assistant", "tool")):
    if draw(st.booleans()):
        return Prompt.user(draw(said))
    turns = [Message(role=draw(st.sampled_from(roles)), content=draw(st.text(max_size=20))) for _ in range(draw(st.integers(1, 3)))]
    return Prompt(messages=(*turns, Message(role="user", content=draw(said))))


@st.composite
def alternating(draw):
    turns = []
    if draw(st.booleans()):
        turns.append(Message(role="system", content=draw(said)))
    for _ in range(draw(st.integers(0, 2))):
        turns += [Message(role="user", content=draw(said)), Message(role="assistant", content=draw(said))]
    return Prompt(messages=(*turns, Message(role="user", content=draw(said))))


@st.composite
def examples(draw, prompt):
    completion = draw(said)
    spans = ((0, len(completion), 0.5),) if draw(st.booleans()) else ()
    return Example(
        prompt=draw(prompt), completion=completion, spans=spans, weight=draw(st.sampled_from([1.0, 0.25])),
        label=draw(st.sampled_from([None, 3])), context=draw(contexts),
    )  # fmt: skip


pairs = st.builds(
    lambda prompt, s, kind, margin, context: Pair(prompt=prompt, chosen=s[0], rejected=s[1], kind=kind, margin=margin, context=context),
    prompts(), st.tuples(said, said).filter(lambda s: s[0] != s[1]), st.sampled_from(["", "rationale"]),
    st.none() | st.floats(0, 1), contexts,
)  # fmt: skip
questions = st.builds(
    lambda text, answer, skill, choices, more: Problem(text=text, answer=answer, skill=skill, choices=tuple(choices), context=more),
    said, said, st.text(max_size=5), st.lists(st.text(max_size=5), max_size=3), contexts,
)  # fmt: skip
CONVERSATIONS = ("messages", "sharegpt", "prompt-completion")


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(examples(alternating()), min_size=1, max_size=4), path=st.permutations((*CONVERSATIONS, "alpaca")))
def test_a_journey_through_all_formats_of_single_replies_loses_nothing(rows, path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("journey")
    here = folder / "start.jsonl"
    write(here, rows, shape="messages")
    for number, shape in enumerate(path):
        there = folder / f"{number}.jsonl"
        assert convert(here, there, to=shape)[1:] == (shape, len(rows))
        here = there
    assert [r.id for r in read(here)[0]] == [r.id for r in rows]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(examples(prompts()), min_size=1, max_size=4),
    shape=st.sampled_from(CONVERSATIONS),
    suffix=st.sampled_from(["jsonl", "json"]),
)
def test_any_conversation_survives(rows, shape, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / f"x.{suffix}"
    write(path, rows, shape=shape)
    back, found = read(path)
    assert found == shape
    assert [r.id for r in back] == [r.id for r in rows]
    assert validate(path).good == len(rows)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(pairs, min_size=1, max_size=4))
def test_preferences_and_questions_survive(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "x.jsonl"
    write(path, rows, shape="preference")
    assert [r.id for r in read(path)[0]] == [r.id for r in rows]


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(questions, min_size=1, max_size=4))
def test_questions_survive(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "x.jsonl"
    write(path, rows, shape="questions")
    assert [r.id for r in read(path)[0]] == [r.id for r in rows]


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(examples(prompts()), min_size=1, max_size=4), good=st.booleans())
def test_labels_survive_and_go_nowhere_else(rows, good, tmp_path_factory):
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("label")
    marked = [replace(row, context={**row.context, DESIRABLE: good}) for row in rows]
    write(folder / "x.jsonl", marked, shape="label")
    assert [r.id for r in read(folder / "x.jsonl")[0]] == [r.id for r in marked]
    for shape in CONVERSATIONS:
        with pytest.raises(DataError, match="good or bad"):
            convert(folder / "x.jsonl", folder / "y.jsonl", to=shape)
    assert [p.name for p in folder.iterdir()] == ["x.jsonl"]


def example(text="What is 2 + 2?", reply="4", **more):
    return Example(prompt=Prompt.user(text), completion=reply, **more)


PAIR = Pair(prompt=Prompt.user("Say hi"), chosen="Hi!", rejected="No.", margin=0.5)


@pytest.mark.parametrize("shape", [s for s in FORMATS if s not in ("preference", "questions")])
def test_preferences_are_not_squeezed_into_one_reply(shape, tmp_path):
    write(tmp_path / "p.jsonl", [PAIR], shape="preference")
    with pytest.raises(DataError, match="two replies"):
        convert(tmp_path / "p.jsonl", tmp_path / "x.jsonl", to=shape)
    with pytest.raises(DataError, match="needs two"):
        write(tmp_path / "y.jsonl", [example()], shape="preference")
    assert [p.name for p in tmp_path.iterdir()] == ["p.jsonl"]


def test_what_alpaca_cannot_hold_is_refused(tmp_path):
    turns = (Message(role="user", content="a"), Message(role="tool", content="b"), Message(role="user", content="c"))
    with pytest.raises(DataError, match="alternate"):
        write(tmp_path / "x.jsonl", [Example(prompt=Prompt(messages=turns), completion="d")], shape="alpaca")
    assert not list(tmp_path.iterdir())


def test_alpaca_keeps_instruction_and_input_apart(tmp_path):
    rows = [{"instruction": "Add.", "input": "1 2", "output": "3"}, {"instruction": "Hi", "input": "", "output": "Hello"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    records, _ = read(tmp_path / "a.jsonl")
    assert records[0].prompt.text == "Add.\n\n1 2"
    assert records[0].context == {ALPACA_INPUT: "1 2"}
    convert(tmp_path / "a.jsonl", tmp_path / "m.jsonl", to="messages")
    convert(tmp_path / "m.jsonl", tmp_path / "b.jsonl", to="alpaca")
    assert [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()] == rows


def test_published_rows_of_every_format_are_read(tmp_path):
    rows = {
        "prompt-completion": {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]},
        "messages": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        "alpaca": {"instruction": "q", "input": "", "output": "a", "text": "Below is an instruction"},
        "label": {"prompt": "q", "completion": "a", "label": True},
        "preference": {"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
                       "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]},
        "questions": {"question": "q", "answer": 4},
    }  # fmt: skip
    assert set(rows) == set(FORMATS)
    for shape, row in rows.items():
        path = tmp_path / f"{shape}.jsonl"
        path.write_text(json.dumps(row))
        (record,), found = read(path)
        assert found == shape
        if isinstance(record, Pair):
            assert (record.prompt, record.chosen, record.rejected) == (Prompt.user("q"), "a", "b")
        elif isinstance(record, Example):
            assert (record.prompt, record.completion) == (Prompt.user("q"), "a")


@pytest.mark.parametrize("shape", [s for s in FORMATS if s not in ("questions",)])
def test_written_files_load_in_datasets(shape, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    records = (
        [PAIR, Pair(prompt=Prompt.user("b"), chosen="c", rejected="d", margin=0.1)]
        if shape == "preference"
        else [example(), example("b", "c")]
    )
    if shape == "label":
        records = [Example(prompt=r.prompt, completion=r.completion, context={DESIRABLE: i == 0}) for i, r in enumerate(records)]
    for suffix in ("jsonl", "parquet"):
        path = tmp_path / f"x.{suffix}"
        write(path, records, shape=shape)
        loader = "json" if suffix == "jsonl" else suffix
        loaded = datasets.load_dataset(loader, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
        assert len(loaded) == 2
        assert set(SHAPES[shape].required) <= set(loaded.column_names)
        assert [r.id for r in read(path)[0]] == [r.id for r in records]


def test_chat_or_text_is_one_choice_for_the_whole_file(tmp_path):
    many = Example(prompt=Prompt.user("q", system="Be brief."), completion="a")
    write(tmp_path / "x.jsonl", [example(), many], shape="prompt-completion")
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert all(isinstance(row["prompt"], list) for row in rows)
    write(tmp_path / "y.jsonl", [example()], shape="prompt-completion", chat=True)
    assert json.loads((tmp_path / "y.jsonl").read_text())["completion"] == [{"role": "assistant", "content": "4"}]
    with pytest.raises(DataError, match="several turns"):
        write(tmp_path / "z.jsonl", [many], shape="prompt-completion", chat=False)


@pytest.mark.parametrize(
    ("first", "second"), [({"note": {"a": 1}}, {"note": {"b": 2}}), ({"note": {"a": 1}}, {"note": {"a": None}}), ({"note": {}}, {})]
)
def test_parquet_holds_a_record_or_refuses_it(first, second, tmp_path):
    records = [example(context=first), example("b", context=second)]
    path = tmp_path / "x.parquet"
    refused = ""
    try:
        write(path, records, shape="messages")
    except DataError as error:
        refused = str(error)
    assert path.exists() != ("would not survive" in refused or "do not fit" in refused)
    if path.exists():
        assert [r.id for r in read(path)[0]] == [r.id for r in records]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_what_no_table_holds_is_refused(tmp_path):
    with pytest.raises(DataError, match="would not survive"):
        write(tmp_path / "x.parquet", [example(context={"note": {"a": 1}}), example("b", context={"note": {"b": 2}})], shape="messages")
    with pytest.raises(DataError, match="do not fit into a table"):
        write(tmp_path / "y.parquet", [example(context={"note": 1}), example("b", context={"note": "one"})], shape="messages")
    with pytest.raises(SettingsError, match="CSV"):
        write(tmp_path / "y.csv", [example()], shape="messages")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_an_old_file_stays_when_the_new_one_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    write(path, [example()], shape="messages")
    before = path.read_bytes()
    with pytest.raises(DataError):
        write(path, [example(), PAIR], shape="messages")
    assert path.read_bytes() == before
    with pytest.raises(SettingsError, match="same file"):
        convert(path, path, to="alpaca")


BAD_ROWS = [
    ('{"messages": [{"role": "user", "content": "q"}]}', "ends with a turn of the user"),
    ('{"messages": "[{\\"role\\": \\"user\\", \\"content\\": \\"q\\"}]"}', "text that holds JSON"),
    ('{"messages": [{"role": "human", "content": "q"}, {"role": "assistant", "content": "a"}]}', "by 'human'"),
    ('{"messages": [{"role": "user", "content": null}, {"role": "assistant", "content": "a"}]}', "says nothing"),
    ('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}]}', "is empty"),
    ('{"messages": [{"role": "user", "content": "q", "tool_calls": [1]}, {"role": "assistant", "content": "a"}]}', "'tool_calls'"),
    ('{"messages": []}', "no turns"),
    ('{"messages": [{"role": "assistant", "content": "a"}]}', "no question"),
    ('{"messages": null}', "holds nothing"),
    ('{"other": 1}', "'messages' is missing"),
    ('"{\\"messages\\": []}"', "encoded twice"),
    ('{"messages": NaN}', "NaN"),
    ("{'messages': []}", "Python dict"),
    ('{"messages": [', "not JSON"),
    ('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "weight": "heavy"}', "'weight' holds text"),
]
GOOD_ROW = '{"messages": [{"role": "user", "content": "q%d"}, {"role": "assistant", "content": "a"}]}'


def test_validation_names_every_bad_row_with_its_line_and_a_way_out(tmp_path):
    path = tmp_path / "bad.jsonl"
    lines = []
    for number, (bad, _) in enumerate(BAD_ROWS):
        lines += [GOOD_ROW % number, bad]
    path.write_text("\n".join(lines))
    found = validate(path)
    assert (found.shape, found.rows, found.good, found.ok) == ("messages", 2 * len(BAD_ROWS), len(BAD_ROWS), False)
    assert [row.line for row in found.problems] == [2 * i + 2 for i in range(len(BAD_ROWS))]
    for row, (_, says) in zip(found.problems, BAD_ROWS, strict=True):
        assert says in str(row), str(row)
        assert row.fix
    assert sum(count for _, count in found.counts) == len(BAD_ROWS)
    with pytest.raises(DataError, match=f"{len(BAD_ROWS)} rows that are not messages"):
        read(path)


def test_validation_of_repeats_ids_and_mixed_columns(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [
        {"prompt": "a", "completion": "b", "id": 1}, {"prompt": "c", "completion": "d", "id": 1},
        {"prompt": "e", "completion": "f", "id": "1"},
        {"prompt": [{"role": "user", "content": "g"}], "completion": "h", "id": 2},
    ]  # fmt: skip
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, rows)).encode())
    found = validate(path)
    assert found.good == 2
    assert "id 1 again (first in line 1)" in found.problems[0].problem
    assert "'prompt' is a list here and a value in line 1" in found.problems[1].problem
    assert any("byte-order mark" in note for note in found.notes)
    assert any("CR LF" in note for note in found.notes)
    (tmp_path / "y.jsonl").write_text("\n".join([GOOD_ROW % 1] * 3))
    assert validate(tmp_path / "y.jsonl").notes == ("2 rows repeat an earlier row: lines 2, 3",)
    assert validate(tmp_path / "y.jsonl").ok


def test_unknown_columns_and_formats(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "a", "complection": "b"}\n')
    assert validate(path).shape is None
    assert "did you mean 'completion'" in validate(path).problems[0].fix
    with pytest.raises(DataError, match="fit no known format"):
        read(path)
    with pytest.raises(SettingsError, match="did you mean 'alpaca'"):
        validate(path, shape="alpacca")
    (tmp_path / "empty.jsonl").write_text("")
    assert not validate(tmp_path / "empty.jsonl").ok


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("utf16.jsonl", '{"a": 1}'.encode("utf-16"), "UTF-16"),
        ("half.json", b'[{"prompt": "a", "completion": "b"}, {"prompt"', "not a JSON list"),
        ("notes.docx", b"PK", "unknown suffix"),
        ("twice.csv", b"prompt,prompt\na,b\n", "two columns of one name"),
    ],
)
def test_files_that_cannot_be_read_at_all(name, content, says, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    for act in (validate, read):
        with pytest.raises(UserError, match=says):
            act(path)


def test_encodings_long_lines_and_control_bytes_are_named(tmp_path):
    path = tmp_path / "x.jsonl"
    good = b'{"prompt": "a", "completion": "b"}'
    long = b'{"prompt": "' + b"x" * (10 * 2**20) + b'", "completion": "b"}'
    path.write_bytes(
        b"\n".join([good, '{"prompt": "Käse", "completion": "b"}'.encode("cp1252"), long, b'{"prompt": "a\x00", "completion": "b"}', good])
    )
    found = validate(path)
    assert (found.rows, found.good) == (5, 2)
    assert "Windows-1252 it says" in found.problems[0].problem
    assert "Käse" in found.problems[0].problem
    assert "10.0 MB" in found.problems[1].problem
    assert found.problems[2].line == 4


def test_a_parquet_file_cut_in_half(tmp_path):
    whole = tmp_path / "x.parquet"
    write(whole, [example(f"q{i}", "a" * 50) for i in range(500)], shape="messages")
    raw = whole.read_bytes()
    for part in (raw[: len(raw) // 2], raw[len(raw) // 2 :], b"", raw[:4]):
        (tmp_path / "half.parquet").write_bytes(part)
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path / "half.parquet")
    assert len(read(whole)[0]) == 500


def test_labels_that_are_not_labels(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": "a", "completion": "b", "label": label}) for label in (True, 1, "yes", None)))
    found = validate(path)
    assert found.good == 1
    assert [row.problem.split("holds ")[1] for row in found.problems] == ["a number", "text", "nothing"]
    assert math.isclose(len(found.counts), 3)


def test_the_folder_is_left_clean(tmp_path):
    write(Path(tmp_path) / "new" / "x.jsonl", [example()], shape="messages")
    assert os.listdir(tmp_path / "new") == ["x.jsonl"]
