"""The Markdown report against a stored text, and hostile text inside it."""

import os
from pathlib import Path

import pytest

from report.sample_run import write_run
from tutelage.report.content import gather
from tutelage.report.markdown import render_markdown
from tutelage.report.read import read_run
from tutelage.report.text import md, md_block, md_table

SNAPSHOT = Path(__file__).with_name("report_snapshot.md")


def test_the_markdown_report_is_the_stored_one(tmp_path):
    """Set UPDATE_SNAPSHOTS=1 to store a changed report; read the difference before committing it."""
    found = render_markdown(gather(read_run(write_run(tmp_path / "run"))))
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(found, encoding="utf-8")
    assert found == SNAPSHOT.read_text(encoding="utf-8")


def rendered(markdown):
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)


def test_model_text_cannot_leave_its_block(tmp_path):
    plain = rendered(render_markdown(gather(read_run(write_run(tmp_path / "a")))))
    hostile = "\n```\n# heading\n<script>alert(1)</script>\n| a | b |\n[x](http://evil)\n"
    found = rendered(render_markdown(gather(read_run(write_run(tmp_path / "b", hostile=hostile)))))
    assert "<script>" not in found
    assert 'href="http://evil"' not in found
    for tag in ("<h1", "<h2", "<h3", "<table", "<pre", "<a "):
        assert found.count(tag) == plain.count(tag), tag


@pytest.mark.parametrize(
    "text",
    [
        "*a* _b_ `c` ~~d~~",
        "[x](http://evil)",
        "![x](y)",
        "<b>bold</b> &lt;",
        "# head",
        "- item",
        "1. item",
        "3) item",
        "> quote",
        "a | b",
        "---",
        "===",
        "a\nb",
        "\\*",
        "snake_case_name",
        "<http://auto.link>",
        "+ plus",
        "* star",
        "![",
        "&copy;",
    ],
)
def test_escaped_text_renders_as_itself(text):
    found = rendered(md(text))
    assert found.startswith("<p>")
    inner = found.removeprefix("<p>").removesuffix("</p>\n")
    import html

    assert html.unescape(inner) == " ".join(text.split())
    assert "<" not in inner


def test_a_cell_cannot_break_its_table():
    table = md_table(["a", "b"], [["x | y", "line\nbreak"], ["`|`", ""]])
    assert rendered(table).count("<td") == 4
    assert "<td>x | y</td>" in rendered(table)


def test_a_fence_is_longer_than_what_it_holds():
    assert md_block("````\nx").startswith("`````text\n")
    assert rendered(md_block("```\nx\n```")).count("<pre>") == 1
