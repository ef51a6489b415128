import json

import pytest

from tutelage.errors import DataError, SettingsError
from tutelage.tasks import open_task
from tutelage.tasks.splits import same_question


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return f"file:{path}"


def sums(n):
    return [{"question": f"What is {i} plus {i + 1}?", "answer": 2 * i + 1} for i in range(n)]


def splits_of(task):
    return {"seed": task.seed, "train": task.train, "validation": task.validation, "test": task.test}


def test_a_plain_jsonl_is_dealt_out_disjointly_and_the_verifier_is_found(tmp_path):
    task = open_task(write(tmp_path / "sums.jsonl", sums(100)))
    sizes = {split: len(rows) for split, rows in splits_of(task).items()}
    assert sizes == {"seed": 20, "train": 40, "validation": 20, "test": 20}
    keys = [same_question(p) for rows in splits_of(task).values() for p in rows]
    assert len(set(keys)) == 100
    assert task.options["verifier"] == "numeric"
    assert task.options["verifier_detected"]
    assert task.verify(task.test[0], f"so <ans>{task.test[0].answer} apples</ans>").right
    assert not task.verify(task.test[0], "").parsed


def test_the_deal_does_not_depend_on_the_order_of_the_rows(tmp_path):
    rows = sums(60)
    forward = open_task(write(tmp_path / "a.jsonl", rows))
    backward = open_task(write(tmp_path / "b.jsonl", rows[::-1]))
    assert {p.id for p in forward.test} == {p.id for p in backward.test}
    other = open_task(f"file:{tmp_path / 'a.jsonl'}", {"split_seed": 1})
    assert {p.id for p in forward.test} != {p.id for p in other.test}


def test_csv_with_mapped_columns_bom_crlf_and_semicolons(tmp_path):
    lines = ["frage;antwort;art"] + [f'"Wie viel ist\r\n{i} und 1?";{i + 1};{"leicht" if i % 2 else "schwer"}' for i in range(40)]
    path = tmp_path / "fragen.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n")
    task = open_task(f"file:{path}", {"question": "frage", "answer": "antwort", "skill": "art"})
    assert sum(map(len, splits_of(task).values())) == 40
    assert set(task.skills) == {"leicht", "schwer"}
    assert task.options["verifier"] == "numeric"


def test_labels_are_found_and_told(tmp_path):
    rows = [{"question": f"ticket {i}", "answer": ("billing", "Shipping", "returns")[i % 3]} for i in range(90)]
    task = open_task(write(tmp_path / "tickets.jsonl", rows))
    assert task.options["verifier"] == "choice"
    assert "billing, returns, Shipping" in task.description
    assert task.chance == pytest.approx(1 / 3)
    problem = task.test[0]
    assert task.verify(problem, f"The answer is {problem.answer.upper()}.").right
    assert not task.verify(problem, "billing or returns").parsed


def test_choices_are_listed_in_the_question(tmp_path):
    rows = [{"question": f"Which is number {i}?", "answer": "B", "options": [f"n{i}", f"m{i}", f"k{i}"]} for i in range(30)]
    task = open_task(write(tmp_path / "c.jsonl", rows), {"choices": "options"})
    problem = task.test[0]
    assert f"(B) {problem.choices[1]}" in problem.text
    assert task.verify(problem, "It is (B).").right
    assert task.verify(problem, f"<ans>{problem.choices[1]}</ans>").right
    assert not task.verify(problem, "<ans>(C)</ans>").right


def test_a_split_column_is_kept_and_missing_splits_come_from_train(tmp_path):
    rows = [{**row, "split": "test" if i % 4 == 0 else "training"} for i, row in enumerate(sums(80))]
    task = open_task(write(tmp_path / "s.jsonl", rows))
    assert len(task.test) == 20
    assert len(task.validation) == 12
    assert {p.text for p in task.test} == {row["question"] for row in rows if row["split"] == "test"}


def test_files_for_splits(tmp_path):
    train, test = sums(60)[:40], sums(60)[40:]
    name = write(tmp_path / "train.jsonl", train)
    write(tmp_path / "test.jsonl", test)
    by_option = open_task(name, {"test": str(tmp_path / "test.jsonl")})
    by_folder = open_task(f"file:{tmp_path}")
    assert {p.text for p in by_option.test} == {row["question"] for row in test} == {p.text for p in by_folder.test}
    assert by_option.version == by_folder.version


def test_repeats_leave_the_training_side(tmp_path):
    rows = [{**row, "split": "train"} for row in sums(40)]
    rows += [{**row, "split": "test"} for row in sums(50)[40:]]
    rows += [
        {"question": "  What is 41   plus 42? ", "answer": 83, "split": "train"},
        {"question": "What is 3 plus 4?", "answer": 8, "split": "train"},
    ]
    task = open_task(write(tmp_path / "d.jsonl", rows))
    assert len(task.test) == 10
    assert task.dropped == {"train: stands in test too": 1, "train: again in train, with another answer": 1}
    assert next(p.answer for rows in splits_of(task).values() for p in rows if p.text == "What is 3 plus 4?") == "7"


def test_malformed_lines_are_counted_with_their_numbers_below_the_threshold(tmp_path):
    path = tmp_path / "m.jsonl"
    lines = [json.dumps(row) for row in sums(100)]
    lines[3], lines[7], lines[11] = '{"question": "half', '{"question": "no answer"}', '{"question": "q", "answer": NaN}'
    path.write_text("\n".join(lines))
    task = open_task(f"file:{path}")
    assert task.dropped["malformed"] == 3
    assert [line.split(":")[0] for line in task.malformed] == ["line 4", "line 8", "line 12"]
    assert "NaN" in task.malformed[2]
    with pytest.raises(DataError, match=r"3 unusable rows among 100.*\n.*line 4.*line 8.*line 12"):
        open_task(f"file:{path}", {"max_malformed": "2%"})


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (lambda p: p.write_text(""), {}, "has no rows"),
        (lambda p: p.write_text('{"question": "q", "answer": "a"}\n'), {}, "at least 2"),
        (
            lambda p: p.write_text("".join(f'{{"questoin": "q{i}", "answer": "a"}}\n' for i in range(9))),
            {"max_malformed": 1},
            "did you mean 'questoin'",
        ),
        (
            lambda p: p.write_text("".join(f'{{"question": "q{i}", "answer": "a"}}\n' for i in range(30))),
            {"anser": "a"},
            "did you mean 'answer'",
        ),
        (
            lambda p: p.write_text("".join(f'{{"question": "q{i}", "answer": "a"}}\n' for i in range(30))),
            {"verifier": "numeric"},
            "does not accept",
        ),
        (
            lambda p: p.write_text("".join(f'{{"question": "q{i}", "answer": "a"}}\n' for i in range(30))),
            {"verifier": "numerc"},
            "did you mean 'numeric'",
        ),
        (lambda p: p.write_text('{"question": "q", "answer": "a", "part": "tset"}\n' * 30), {"split": "part"}, "names an unknown split"),
        (lambda p: p.write_bytes("\ufeff{}".encode("utf-16-le")), {}, "UTF-16"),
        (lambda p: None, {}, "no such file"),
    ],
)
def test_bad_input_is_named(tmp_path, make, options, says):
    path = tmp_path / "bad.jsonl"
    make(path)
    with pytest.raises((DataError, SettingsError)) as caught:
        open_task(f"file:{path}", options)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_missing_columns_stop_even_when_every_row_is_bad(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("frage,antwort\n" + "a,1\n" * 20)
    with pytest.raises(DataError, match="no column 'question'") as caught:
        open_task(f"file:{path}")
    assert "frage, antwort" in str(caught.value)


def test_unknown_tasks_get_a_hint():
    with pytest.raises(SettingsError, match="did you mean 'gsm8k'"):
        open_task("gsm8")
    with pytest.raises(SettingsError, match="did you mean 'bbh/navigate'"):
        open_task("bbh/navigat")
    with pytest.raises(SettingsError, match="names no file"):
        open_task("file:")


def test_preference_rows_become_a_judging_task(tmp_path):
    rows = [{"prompt": f"Say {i}", "chosen": f"well {i}", "rejected": f"bad {i}"} for i in range(40)]
    task = open_task(write(tmp_path / "p.jsonl", rows), {"kind": "preference"})
    assert task.chance == 0.5
    assert {p.answer for p in task.train} == {"A", "B"}
    for problem in task.test:
        shown = problem.text.index(problem.context["chosen"]) < problem.text.index(problem.context["rejected"])
        assert problem.answer == ("A" if shown else "B")
        assert task.verify(problem, f"A reads well but the answer is {problem.answer}.").right


def test_every_kind_of_bad_row_is_named_and_nothing_is_half_read(tmp_path):
    path = tmp_path / "x.jsonl"
    good = [json.dumps({"id": i, **row}).encode() for i, row in enumerate(sums(40))]
    bad = [
        ('{"id": 90, "question": "Käse?", "answer": "1"}'.encode("cp1252"), "not UTF-8"),
        (b'{"id": 91, "question": "' + b"x" * (10 * 2**20) + b'", "answer": "1"}', "10.0 MB"),
        (b'"{\\"question\\": \\"q\\", \\"answer\\": \\"1\\"}"', "encoded twice"),
        (b'{"id": 0, "question": "another?", "answer": "1"}', "id '0' again (first in line 1)"),
        (b'{"id": 92, "question": ["q"], "answer": "1"}', "holds a list"),
        (b'{"id": 93, "question": "  ", "answer": "1"}', "holds an empty text"),
        (b'{"id": 94, "question": "q", "answer": null}', "holds nothing"),
        (b"[1, 2]", "a JSON list"),
        (b"{'question': 'q'}", "printed Python dict"),
    ]
    path.write_bytes(b"\r\n".join([*good, *(row for row, _ in bad)]))
    task = open_task(f"file:{path}", {"max_malformed": 0.5})
    assert task.dropped == {"malformed": len(bad)}
    for number, (told, (_, says)) in enumerate(zip(task.malformed, bad, strict=True), start=41):
        assert told.startswith(f"line {number}: "), told
        assert says in told
    assert sum(map(len, splits_of(task).values())) == 40
    with pytest.raises(DataError, match=f"{len(bad)} unusable rows among 49"):
        open_task(f"file:{path}")


def test_bad_rows_of_csv(tmp_path):
    path = tmp_path / "x.csv"
    lines = ["question,answer"] + [f"What is {i}?,{i}" for i in range(60)]
    lines[10] = "one field"
    lines[20] = "a,b,c"
    path.write_bytes("\n".join(lines).encode() + "\nKäse?,1\n".encode("cp1252") + b'"never closed,3\nWhat is 70?,70\n')
    task = open_task(f"file:{path}", {"max_malformed": 0.5})
    assert [told.split(":")[0] for told in task.malformed] == ["line 11", "line 21", "line 62", "line 63"]
    assert "1 fields under 2 columns" in task.malformed[0]
    assert "in Windows-1252 it is 'ä'" in task.malformed[2]
    assert "never closed" in task.malformed[3]


def test_missing_splits_are_named(tmp_path):
    rows = [{**row, "split": "test"} for row in sums(40)]
    with pytest.raises(DataError, match="gives no row to the train split"):
        open_task(write(tmp_path / "x.jsonl", rows))
    with pytest.raises(DataError, match="no such file"):
        open_task(write(tmp_path / "y.jsonl", sums(40)), {"test": str(tmp_path / "nowhere.jsonl")})
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "test.jsonl", sums(10))
    with pytest.raises(DataError, match="holds no train file"):
        open_task(f"file:{tmp_path / 'folder'}")
    one = [{**row, "split": "validation" if i == 0 else "train" if i < 30 else "test"} for i, row in enumerate(sums(40))]
    with pytest.raises(DataError, match="1 rows in its validation split"):
        open_task(write(tmp_path / "z.jsonl", one))


def test_expressions_as_answers(tmp_path):
    rows = [{"question": f"Factor x^2 + {i}x.", "answer": f"x(x + {i})"} for i in range(2, 22)]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert open_task(f"file:{path}").options["verifier"] == "exact"
    task = open_task(f"file:{path}", {"verifier": "maths"})
    problem = task.test[0]
    number = problem.text.split("+ ")[1].rstrip("x.")
    assert task.verify(problem, f"so \\boxed{{x^2 + {number}x}}").right
    assert task.verify(problem, f"so \\boxed{{x^2 + {number}}}").score == 0
