"""The HTML page: everything is there, nothing a model wrote can act, nothing is fetched, equal runs give equal bytes."""

import re
from html.parser import HTMLParser

import pytest

from report.sample_run import write_run
from tutelage.report import write_report
from tutelage.report.content import gather
from tutelage.report.page import render_html, sections
from tutelage.report.read import read_run

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp; \u202egnp.exe\u202c \x07 {{ 7*7 }} </pre></details><!-- '


class Page(HTMLParser):
    """Collects tags and text, and fails on tags that are closed in the wrong order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.words.append(" ")

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("page") / "run")


@pytest.fixture(scope="module")
def page(run_folder):
    return Page(render_html(gather(read_run(run_folder))))


def test_every_section_is_there_and_linked(run_folder, page):
    names = sections(gather(read_run(run_folder)))
    assert len(names) == 11
    anchors = {attrs.get("id") for tag, attrs in page.tags if tag == "section"}
    links = {(attrs.get("href") or "").removeprefix("#") for tag, attrs in page.tags if tag == "a"}
    assert anchors == links == {anchor for anchor, _ in names}


def test_the_page_says_what_it_must(page):
    for part in (
        "The claim under test: a teacher tuned on",
        "Yes, here it helped",
        "verified_sampling",
        "Accuracy with no example in view (0-shot)",
        "41.96 against 37.55",
        "same direction",
        "not tested in this run",
        "Mean score by skill and way of writing",
        "on other probes, the two scores would agree at",
        "What alignment was shown",
        "reply without a readable item: 15",
        "11 of 40 questions for telling able models from less able ones, 1 more drawn at random",
        "3 steps back to 1 seed",
        "question of the task's seed split",
        "written by the teacher after the step 'align'",
        "16\u202f120",
        "0 teacher win rate 0.50 0.93",
        "Apache-2.0",
        "tutelage run arte --task folds/shop --seeds 3",
        "torch 2.13.0",
        "dpo.lr",
        "95 % interval",
    ):
        assert " ".join(part.replace(" %", "\u00a0%").split()) in page.text, part


def test_the_change_of_style_is_said_from_the_note_and_from_the_words_alike(run_folder, tmp_path):
    noted = gather(read_run(run_folder))
    assert noted.drift == "The largest change: 'steps' makes up 90.0 % of what arte was given, and 34.0 % of original_teacher."
    folder = write_run(tmp_path / "run")
    for path in folder.glob("seeds/*/*/events.jsonl"):
        path.write_bytes(b"".join(line + b"\n" for line in path.read_bytes().splitlines() if b"styles_written" not in line))
    judged = gather(read_run(folder))
    assert [w.judged for w in judged.written] == [1.0, 1.0]
    truth = [sum(t["completion"].startswith("Mon") for t in w.texts) for w in judged.written]
    assert truth[1] > truth[0]
    assert judged.drift.startswith("The largest change: 'steps' makes up ")


def test_nothing_is_fetched_and_nothing_runs(page):
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form", "base"}
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("href", "src"):
                assert (value or "").startswith("#") or value == "data:,", (tag, value)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy or "")


def test_what_a_model_wrote_stays_text(tmp_path, page):
    hostile = Page(render_html(gather(read_run(write_run(tmp_path / "run", hostile=HOSTILE)))))
    shape = lambda p: [(t, sorted(a)) for t, a in p.tags]  # noqa: E731
    assert shape(hostile) == shape(page)
    assert '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp; ⟨U+202E⟩gnp.exe⟨U+202C⟩ ␇ {{ 7*7 }}' in hostile.text


def test_names_from_the_run_are_escaped_too(tmp_path):
    (tmp_path / "run.json").write_text(
        '{"recipe": "<b>x</b>", "arms": {"<i>arm</i>": {"summary": "</style>"}}, "seeds": [0],'
        ' "card": {"claim": "<script>", "steps": ["<u>"]},'
        ' "models": {"teacher": {"name": "<img src=y>", "facts": {}}}, "task": {"name": "<h1>"}, "command": "</pre><script>"}'
    )
    found = Page(render_html(gather(read_run(tmp_path))))
    assert not {t for t, _ in found.tags} & {"b", "i", "img", "script", "u"}
    assert [t for t, _ in found.tags].count("h1") == 1


def test_an_unchanged_run_gives_the_same_bytes(run_folder, tmp_path):
    first = [p.read_bytes() for p in write_report(run_folder, out=tmp_path / "a")]
    again = [p.read_bytes() for p in write_report(run_folder, out=tmp_path / "b")]
    assert first == again
    assert [p.name for p in sorted((tmp_path / "a").iterdir())] == ["report.html", "report.md"]


def test_reports_go_into_the_run_folder(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("untouched", "arte"))
    html, markdown = write_report(folder)
    assert (html, markdown) == (folder / "report.html", folder / "report.md")
    assert html.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "shape",
    [
        {"seeds": (0,), "arms": ("arte",)},
        {"seeds": (0,), "arms": ("untouched",)},
        {"skip": ((0, "arte"), (1, "arte"), (2, "arte"))},
        {"cut": tuple((s, a) for s in (0, 1, 2) for a in ("arte", "original_teacher"))},
        {"refused": ((0, "arte"), (1, "arte"), (2, "arte"))},
    ],
)
def test_partial_runs_make_whole_pages(tmp_path, shape):
    content = gather(read_run(write_run(tmp_path / "run", **shape)))
    found = Page(render_html(content))
    assert content.findings[0].title in found.text
    assert "None" not in re.sub(r"\bNone of\b", "", found.text)
    assert "nan" not in found.text.lower().split()


def test_a_run_that_only_has_its_request(tmp_path):
    (tmp_path / "run.json").write_text('{"recipe": "sft", "arms": ["a"], "seeds": [0]}')
    found = Page(render_html(gather(read_run(tmp_path))))
    assert "No result yet" in found.text
    assert "the command was not recorded" in found.text


def test_preference_from_a_note_where_no_scores_were_kept(tmp_path):
    folder = write_run(tmp_path / "run", seeds=(0,), arms=("arte",))
    (folder / "seeds" / "0" / "arte" / "records" / "liked.jsonl").unlink()
    events = folder / "seeds" / "0" / "arte" / "events.jsonl"
    events.write_bytes(
        events.read_bytes() + b'{"event":"note","name":"preference_by_style","value":{"cups":{"steps":0.4321,"terse":{"mean":0.1}}}}\n'
    )
    preference = gather(read_run(folder)).preference
    assert preference is not None
    assert preference.cells == {("cups", "steps"): (0.4321, 0), ("cups", "terse"): (0.1, 0)}
