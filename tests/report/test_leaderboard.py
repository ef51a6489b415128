import pytest

from tutelage.errors import SettingsError
from tutelage.measure import paired_t, t_interval
from tutelage.report import Row, leaderboard

BEST = [0.60, 0.64, 0.62]
LEVEL = [0.58, 0.66, 0.60]
WORSE = [0.30, 0.33, 0.31]


def row(name, values, *, best=None, **more):
    gap = paired_t([a - b for a, b in zip(values, best, strict=True)]) if best else None
    return Row(name=name, score=t_interval(values), to_best=gap, **more)


def test_best_first_with_words_about_chance():
    rows = [row("sft", WORSE, best=BEST), row("arte", BEST, teacher_calls=1500, elapsed_s=61.0), row("verified", LEVEL, best=BEST)]
    markdown, html = leaderboard(rows)
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["arte", "verified", "sft"]
    assert "1\u202f500" in lines[2]
    assert "61 s" in lines[2]
    said = markdown.splitlines()[-1]
    assert said == "arte has the highest mean accuracy (62.0 %). Significantly below it: sft. Not to be told from it: verified."
    assert html.count("<tr>") == 4
    assert said in html


def test_nothing_differs():
    markdown, _ = leaderboard([row("a", BEST), row("b", LEVEL, best=BEST)], metric="F1")
    assert "None of the others differs from it significantly" in markdown
    assert "highest mean F1" in markdown


def test_untested_unmeasured_and_empty():
    assert "No difference could be tested" in leaderboard([row("a", [0.5])])[0]
    assert "Nothing has been measured yet" in leaderboard([row("a", [])])[0]
    assert "Nothing has been measured yet" in leaderboard([])[0]


def test_unlike_fingerprints_are_refused():
    with pytest.raises(SettingsError, match="measured differently"):
        leaderboard([row("a", BEST, fingerprint="x"), row("b", LEVEL, fingerprint="y")])


def test_names_are_escaped():
    markdown, html = leaderboard([row("<b>|x", BEST)])
    assert "<b>" not in html
    assert "\\<b\\>\\|x" in markdown
