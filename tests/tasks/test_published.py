import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.errors import DataError
from tutelage.records import Problem
from tutelage.select.hygiene import clean
from tutelage.tasks import bbh, open_task
from tutelage.tasks.clinc150 import held_rows
from tutelage.tasks.splits import same_question
from tutelage.verify.extract import final_answer
from tutelage.verify.numeric import numeric, parse_number

DATA = os.environ.get("TUTELAGE_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="TUTELAGE_DATA is not set")
FORMS = ("<ans>{}</ans>", "so #### {}\n".replace("so ", "so\n"), "Therefore the answer is {}.", "\\boxed{{{}}}", "{}", "**Answer:** {}")


def rows_of(task):
    return (*task.seed, *task.train, *task.validation, *task.test)


def others(task, problem, count=3):
    """Answers of the same sub-task that differ from the problem's own."""
    found = []
    for other in rows_of(task):
        if other.skill == problem.skill and other.answer != problem.answer and other.answer not in found:
            found.append(other.answer)
        if len(found) == count:
            break
    return found


def check_every_row(task, invented):
    for number, problem in enumerate(rows_of(task)):
        verdict = task.verify(problem, FORMS[number % len(FORMS)].format(problem.answer))
        assert verdict.right, (problem.text, verdict)
        wrong = (others(task, problem) + invented(problem))[:4]
        assert len(wrong) >= 3
        for answer in wrong:
            assert task.verify(problem, f"<ans>{answer}</ans>").score == 0, (problem.answer, answer)
        assert not task.verify(problem, "").parsed
        assert not task.verify(problem, "I do not know.\nIt is too hard.").parsed


@needs_data
def test_gsm8k_gold_passes_and_other_answers_fail_on_all_rows():
    task = open_task("gsm8k")
    assert (len(task.seed), len(task.train), len(task.validation), len(task.test)) == (32, 6941, 500, 1319)
    assert task.dropped == {}
    for number, problem in enumerate(rows_of(task)):
        gold = int(problem.answer)
        assert task.verify(problem, FORMS[number % len(FORMS)].format(f"${gold:,}.00")).right
        assert task.verify(problem, problem.context["solution"] + f"\n#### {gold:,}").right
        for wrong in (gold + 1, -gold if gold else 7, f"{gold}.5", f"{gold}1"):
            assert task.verify(problem, f"<ans>{wrong}</ans>").score == 0
        assert not task.verify(problem, "").parsed


@needs_data
def test_every_bbh_row():
    task = open_task("bbh/*")
    present = len(list((Path(DATA) / "bbh").glob("*.json")))
    assert len(task.skills) == present == 8
    assert len(rows_of(task)) == 250 * present
    assert task.dropped == {}
    assert len({same_question(p) for p in rows_of(task)}) == len(rows_of(task))

    def invented(problem):
        if problem.skill == "word_sorting":
            words = problem.answer.split()
            return [" ".join(words[::-1]), " ".join(words[1:]), " ".join([*words, "zebra"])]
        return ["maybe", "(Z)", "none of these", f"{problem.answer}5"]

    check_every_row(task, invented)


@needs_data
def test_templates_of_bbh_are_no_leaks_but_its_test_questions_are():
    task = open_task("bbh/*")
    assert task.templated
    evaluation = [p.text for p in (*task.test, *task.validation)]
    training = [p.text for p in (*task.seed, *task.train)]
    kept, counts = clean(training, text=str, evaluation=evaluation, templated=task.templated)
    assert counts == {"kept": len(training), "checked": len(training)}
    kept, counts = clean([*training, evaluation[0], evaluation[1].replace(" ", "\n")], text=str, evaluation=evaluation, templated=True)
    assert len(kept) == len(training)
    assert counts["leak: equal"] == 2


@needs_data
def test_worked_solutions_of_gsm8k_say_their_answer():
    task = open_task("gsm8k")
    for problem in (*task.seed, *task.train):
        worked = task.worked(problem)
        assert task.verify(problem, worked).right
        assert "<<" not in worked
        assert worked.startswith(problem.context["solution"][:5].partition("<")[0])


@needs_data
def test_every_bbh_question_that_came_without_options_and_key_gets_its_key_from_a_solution():
    task = open_task("bbh/*")
    for problem in rows_of(task):
        text = f"Let us see.\n<ans>{problem.answer}</ans>"
        read = task.verify(Problem(text=problem.text, skill=problem.skill), text).extracted
        assert task.verify(Problem(text=problem.text, skill=problem.skill, answer=read), text).right, problem
        assert task.verify(problem, f"<ans>{read}</ans>").right


@needs_data
def test_bbh_alone_judges_by_its_own_rule_whatever_skill_a_problem_is_filed_under():
    task = open_task("bbh/navigate")
    problem = replace(task.seed[0], skill="turning_round")
    assert task.verify(problem, f"<ans>{problem.answer}</ans>").right
    assert task.verify(problem, "<ans>maybe</ans>").score == 0


@needs_data
def test_bbh_alone_has_its_own_techniques_and_sizes():
    task = open_task("bbh/navigate", {"test_size": 50})
    assert (len(task.seed), len(task.train), len(task.validation), len(task.test)) == (10, 40, 80, 50)
    assert [t.name for t in task.techniques] == ["expert", "rules", "bare", "exam"]
    assert task.chance == 0.5
    assert open_task("bbh/date_understanding").chance == pytest.approx(1 / 6, abs=0.05)


@needs_data
def test_published_marks_of_all_real_generations():
    rows = [json.loads(line) for line in (Path(DATA) / "gsm8k/model_solutions.jsonl").read_bytes().splitlines()]
    judged = 0
    for row in rows:
        problem = Problem(text=row["question"], answer=row["ground_truth"].rpartition("A:")[2].strip())
        for name, written in row.items():
            if name not in ("question", "ground_truth"):
                judged += 1
                assert numeric(problem, written["solution"]).right == written["is_correct"], (name, row["question"])
    assert judged == 5276


@needs_data
def test_recorded_answers_of_a_large_model_are_parsed_as_recorded():
    parsed = unparsed = 0
    for path in sorted((Path(DATA) / "bbh_recorded").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            row = json.loads(line)
            found = final_answer(row["rationale"])
            assert (found.value if found else None) == row["answer"], row["question"]
            words = bbh.KINDS[path.stem].words
            problem = Problem(text=row["question"], answer=row["target"], skill=path.stem, choices=bbh.options_of(row["question"], words))
            verdict = bbh.verify(problem, row["rationale"])
            if row["answer"] is None:
                unparsed += 1
                assert not verdict.parsed
            else:
                parsed += 1
                same = verdict.extracted == row["answer"] or parse_number(verdict.extracted) == parse_number(row["answer"])
                assert verdict.parsed
                assert same
                assert verdict.right == (row["answer"].replace(",", "") == row["target"])
    assert (parsed, unparsed) == (1487, 13)


def test_missing_data_names_the_variable_and_the_file(tmp_path, monkeypatch):
    monkeypatch.delenv("TUTELAGE_DATA", raising=False)
    with pytest.raises(DataError, match="TUTELAGE_DATA is not set"):
        open_task("gsm8k")
    monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"gsm8k/train\.jsonl"):
        open_task("gsm8k")
    with pytest.raises(DataError, match="BIG-Bench Hard"):
        open_task("bbh/*")


def test_options_of_every_published_layout():
    assert bbh.options_of("q\nOptions:\n(A) x y\n(B) z") == ("x y", "z")
    assert bbh.options_of("q\nOptions:\n- valid \n- invalid") == ("valid", "invalid")
    assert bbh.options_of("no options", ("Yes", "No")) == ("Yes", "No")
    assert len(bbh.KINDS) == 27


@needs_data
def test_every_row_of_clinc150():
    task = open_task("clinc150")
    rows = rows_of(task)
    labels = sorted({p.answer for p in rows})
    assert len(labels) == 151
    assert len(rows) == 23_700 - 5
    assert task.dropped == {
        "train: stands in validation too": 1, "train: stands in validation too, with another answer": 2,
        "train: stands in test too, with another answer": 2,
    }  # fmt: skip
    assert (len(task.seed), len(task.validation), len(task.test)) == (302, 3100, 5500)
    assert len({same_question(p) for p in rows}) == len(rows)
    for number, problem in enumerate(rows):
        assert task.verify(problem, FORMS[number % len(FORMS)].format(problem.answer)).right
        for step in (1, 1 + number % 149, 150):
            wrong = labels[(labels.index(problem.answer) + step) % len(labels)]
            assert task.verify(problem, f"<ans>{wrong}</ans>").score == 0
    assert not task.verify(rows[0], "").parsed
    assert len(rows_of(open_task("clinc150", {"oos": "no"}))) == 22_500 - 5


@needs_data
def test_clinc150_holds_rows_back_and_can_be_tuned_without_its_test_rows():
    whole, half = open_task("clinc150", {"oos": "no"}), open_task("clinc150", {"oos": "no", "held_back": 0.5})
    held = held_rows(0.5)
    assert 0.47 < len(held) / 14_995 < 0.53
    assert {p.id for p in held} | {p.id for p in (*half.seed, *half.train)} == {p.id for p in (*whole.seed, *whole.train)}
    assert not {p.id for p in held} & {p.id for p in rows_of(half)}
    assert len({p.answer for p in held}) == len(half.labels) == 150
    assert (half.validation, half.test) == (whole.validation, whole.test)
    tuning = open_task("clinc150", {"oos": "no", "tested": "validation"})
    assert {p.id for p in (*tuning.validation, *tuning.test)} == {p.id for p in whole.validation}
    assert 1400 < len(tuning.test) < 1600
    assert not {p.id for p in tuning.validation} & {p.id for p in tuning.test}
