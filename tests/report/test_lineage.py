"""Any row of any table can be traced to its seed."""

import pytest

from report.sample_run import all_records, write_run
from tutelage.errors import DataError
from tutelage.records import Example, Feedback, Origin, Pair, Problem, Solution, encode
from tutelage.report import chain
from tutelage.report.lineage import chain_summary, link_text, link_title, seeds_of


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("lineage") / "run", seeds=(0,), arms=("arte", "original_teacher"))


def test_every_example_pair_and_score_of_the_run_goes_back_to_known_seeds(run_folder):
    rows = [r for r in all_records(run_folder / "seeds" / "0" / "arte") if isinstance(r, Example | Pair | Feedback)]
    assert len(rows) >= 100
    for row in rows[::7]:
        link = chain(run_folder, row.id, arm="arte")
        ends = seeds_of(link)
        assert ends
        assert all(e.kept_as in ("task/seed", "probes") for e in ends), row
        assert any(e.kept_as == "task/seed" for e in ends)


def test_a_chain_in_words(run_folder):
    example = next(r for r in all_records(run_folder / "seeds" / "0" / "arte") if isinstance(r, Example))
    link = chain(run_folder, example.id)
    assert (link.kind, link.kept_as) == ("Example", "examples")
    solution = link.parents[0]
    question = solution.parents[0]
    assert [solution.kind, question.kind, question.parents[0].kept_as] == ["Solution", "Problem", "task/seed"]
    assert link_title(link) == "training example, written by the teacher after the step 'align' (step examples)"
    assert link_title(question.parents[0]) == "question of the task's seed split"
    assert chain_summary(link) == "3 steps back to 1 seed"
    assert example.completion in link_text(link)
    assert "(answer: 0)" in link_text(question.parents[0])


def test_a_pair_names_its_styles_and_both_sides(run_folder):
    pair = next(r for r in all_records(run_folder) if isinstance(r, Pair))
    link = chain(run_folder, pair.id)
    assert {p.kind for p in link.parents} == {"Solution"}
    assert "in the style 'steps'" in link_title(link.parents[0]) + link_title(link.parents[1])
    assert link_text(link).startswith("preferred: ")
    # both solutions answer the same draft; the second time it is not spelled out
    assert [p.parents[0].seen_above for p in link.parents] == [False, True]


def test_a_beginning_of_the_id_is_enough_when_it_is_unique(run_folder):
    solution = next(r for r in all_records(run_folder) if isinstance(r, Solution))
    assert chain(run_folder, solution.id[:20]).id == solution.id
    assert chain(run_folder, solution.id[:20]).kind == "Solution"


def test_a_beginning_that_several_records_share_is_refused(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("arte",))
    many = [Problem(text=str(i)) for i in range(1000)]
    (folder / "seeds" / "0" / "arte" / "records" / "many.jsonl").write_bytes(b"".join(encode(p) + b"\n" for p in many))
    with pytest.raises(DataError, match="several records"):
        chain(folder, next(p.id[:6] for p in many if sum(q.id.startswith(p.id[:6]) for q in many) > 1))
    with pytest.raises(DataError, match="no such record"):
        chain(folder, "b2-")


def test_unknown_ids_and_unknown_parents(run_folder):
    with pytest.raises(DataError, match="holds no such record"):
        chain(run_folder, "b2-ffffffffffffffff")
    (run_folder / "task" / "seed.jsonl").rename(run_folder / "task" / "seed.away")
    try:
        example = next(r for r in all_records(run_folder / "seeds" / "0" / "arte") if isinstance(r, Example))
        link = chain(run_folder, example.id)
        assert "(1 outside this folder)" in chain_summary(link)
        assert "does not hold" in link_title(seeds_of(link)[0])
    finally:
        (run_folder / "task" / "seed.away").rename(run_folder / "task" / "seed.jsonl")


def test_a_circle_of_parents_ends(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("arte",))
    a, b = Problem(text="a"), Problem(text="b")
    circle = [Problem(text="a", origin=Origin(step="s", parents=(b.id,))), Problem(text="b", origin=Origin(step="s", parents=(a.id,)))]
    (folder / "seeds" / "0" / "arte" / "records" / "circle.jsonl").write_bytes(b"".join(encode(p) + b"\n" for p in circle))
    link = chain(folder, a.id)
    assert link.parents[0].parents[0].seen_above
