"""The numbers of a report against hand-made scorecards."""

import math
import statistics

import orjson
import pytest
from scipy import stats

from report.sample_run import write_run
from tutelage.report import summarise
from tutelage.report.read import read_run
from tutelage.report.summary import difference, yields


def arm(summary, name):
    return next(a for a in summary["arms"] if a["name"] == name)


def test_means_intervals_and_paired_differences_equal_scipy(tmp_path):
    folder = write_run(tmp_path / "run")
    summary = summarise(folder)
    assert summary["metrics"] == ["accuracy, 0-shot", "accuracy, 1-shot"]
    assert (summary["state"], summary["baseline"], summary["system"], summary["control"]) == (
        "finished",
        "original_teacher",
        "arte",
        "shuffled",
    )
    run = read_run(folder)
    read = {
        name: [next(e["value"] for e in r.of_kind("scorecard") if e["shots"] == 0) for r in run.of_arm(name)]
        for name in ("arte", "original_teacher")
    }
    found = arm(summary, "arte")["metrics"]["accuracy, 0-shot"]
    assert found["mean"] == pytest.approx(statistics.mean(read["arte"]))
    assert found["high"] - found["mean"] == pytest.approx(stats.t.ppf(0.975, 2) * statistics.stdev(read["arte"]) / math.sqrt(3))
    gaps = [a - b for a, b in zip(read["arte"], read["original_teacher"], strict=True)]
    test = stats.ttest_1samp(gaps, 0)
    d = found["difference"]
    assert (d["to"], d["over"], d["n"]) == ("original_teacher", "seeds", 3)
    assert (d["low"], d["high"]) == pytest.approx(test.confidence_interval(0.95))
    assert d["p_value"] == pytest.approx(test.pvalue)
    assert d["p_holm"] >= d["p_value"]
    assert arm(summary, "original_teacher")["metrics"]["accuracy, 0-shot"]["difference"] is None


def test_another_baseline(tmp_path):
    summary = summarise(write_run(tmp_path / "run"), baseline="untouched")
    assert arm(summary, "arte")["metrics"]["accuracy, 0-shot"]["difference"]["to"] == "untouched"


def test_holm_is_over_the_arms_of_one_metric(tmp_path):
    summary = summarise(write_run(tmp_path / "run"))
    tested = [a["metrics"]["accuracy, 0-shot"]["difference"] for a in summary["arms"] if a["name"] != "original_teacher"]
    smallest = min(tested, key=lambda d: d["p_value"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, 4 * smallest["p_value"]))


def test_one_seed_is_bootstrapped_over_items(tmp_path):
    summary = summarise(write_run(tmp_path / "run", seeds=(5,)))
    found = arm(summary, "arte")["metrics"]["accuracy, 0-shot"]
    assert (found["over"], found["n"]) == ("items", 1)
    assert found["low"] < found["mean"] < found["high"]
    assert found["difference"]["over"] == "items"
    assert found["difference"]["n"] == 120
    assert found["difference"]["p_value"] is None


def test_the_same_measurement_under_all_seeds_is_one_measurement(tmp_path):
    folder = write_run(tmp_path / "run", arms=("untouched", "arte"))
    first = folder / "seeds" / "0" / "untouched" / "records" / "scorecards.jsonl"
    for seed in (1, 2):
        (folder / "seeds" / str(seed) / "untouched" / "records" / "scorecards.jsonl").write_bytes(first.read_bytes())
    found = arm(summarise(folder), "untouched")["metrics"]["accuracy, 0-shot"]
    assert (found["over"], found["n"]) == ("items", 3)
    assert found["high"] - found["low"] > 0.1


def test_unlike_fingerprints_are_not_compared(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("arte", "original_teacher"))
    for kind in ("records/scorecards.jsonl", "events.jsonl"):
        path = folder / "seeds" / "0" / "arte" / kind
        path.write_bytes(path.read_bytes().replace(b'"fingerprint":"f0"', b'"fingerprint":"other"'))
    (folder / "seeds" / "0" / "arte" / "records" / "scorecards.jsonl").unlink()
    summary = summarise(folder)
    assert arm(summary, "arte")["metrics"]["accuracy, 0-shot"]["difference"] is None
    assert arm(summary, "arte")["metrics"]["accuracy, 1-shot"]["difference"] is not None


def test_differences_use_the_seeds_that_both_arms_have(tmp_path):
    run = read_run(write_run(tmp_path / "run", skip=((1, "arte"),)))
    d = difference(run, "accuracy, 0-shot", "arte", "original_teacher")
    assert (d["n"], sorted(d["values"])) == (2, [0, 2])
    assert difference(run, "accuracy, 0-shot", "arte", "no such arm") is None
    assert difference(run, "accuracy, 9-shot", "arte", "original_teacher") is None


def test_an_interval_of_a_share_stays_between_0_and_1(tmp_path):
    summary = summarise(write_run(tmp_path / "run", seeds=(0, 1), levels={"arte": {0: 0.999}}))
    found = arm(summary, "arte")["metrics"]["accuracy, 0-shot"]
    assert found["high"] == 1.0


def test_costs_are_means_over_seeds_and_trainings_are_apart(tmp_path):
    cost = arm(summarise(write_run(tmp_path / "run")), "arte")["cost"]
    assert cost["seeds"] == 3
    assert cost["roles"]["teacher"]["calls"] == pytest.approx(260)
    assert cost["roles"]["teacher"]["prompt_tokens"] == pytest.approx(260 * 40)
    assert cost["roles"]["student"]["physical_calls"] == pytest.approx(1800)
    assert cost["training"]["student"]["tokens"] == pytest.approx(12_000)


def test_yields_are_summed_and_reasons_sorted_by_size(tmp_path):
    run = read_run(write_run(tmp_path / "run", seeds=(0, 1), arms=("arte",)))
    drafts, *_, last = yields(run.of_arm("arte"))
    assert (drafts["step"], drafts["asked"], drafts["parsed"], drafts["kept"], drafts["runs"]) == ("drafts", 60, 50, 40, 2)
    assert drafts["dropped"] == {"repeat": 10, "reply without a readable item": 10}
    assert 0 not in last["dropped"].values()


def test_an_unfinished_run_names_what_is_missing_and_stays_json(tmp_path):
    summary = summarise(write_run(tmp_path / "run", skip=((1, "arte"),), cut=((2, "arte"),)))
    assert summary["state"] == "unfinished"
    assert summary["unfinished"] == [(1, "arte", "not started"), (2, "arte", "unfinished")]
    orjson.dumps(summary, option=orjson.OPT_NON_STR_KEYS)


def test_a_run_without_any_result(tmp_path):
    (tmp_path / "run.json").write_text('{"recipe": "sft", "arms": ["a"], "seeds": [0]}')
    summary = summarise(tmp_path)
    assert summary["metrics"] == []
    assert arm(summary, "a")["metrics"] == {}
    assert arm(summary, "a")["cost"] == {"seeds": 0, "roles": {}, "training": {}}


def test_scorecards_of_another_model_stand_behind_the_students(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("arte", "original_teacher"))
    events = folder / "seeds" / "0" / "arte" / "events.jsonl"
    (folder / "seeds" / "0" / "arte" / "records" / "scorecards.jsonl").unlink()
    events.write_bytes(
        events.read_bytes() + b'{"event":"scorecard","name":"teacher","value":0.9,"n":10,"parsed":1.0,"shots":0,"metric":"accuracy"}\n'
    )
    assert summarise(folder)["metrics"] == ["accuracy, 0-shot", "accuracy, 1-shot", "teacher: accuracy, 0-shot"]
