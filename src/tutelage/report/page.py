"""The report of a run: one self-contained HTML page and the same as Markdown."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tutelage.journal.folder import storage_error
from tutelage.report import text, words
from tutelage.report.content import Content, arm_rows, gather
from tutelage.report.lineage import chain_summary, link_text, link_title
from tutelage.report.markdown import render_markdown
from tutelage.report.plot import sparkline
from tutelage.report.read import read_run

HERE = Path(__file__).parent


def write_report(folder: Path | str, *, out: Path | str | None = None) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` into the run folder (or `out`) and return both paths.

    Works on unfinished runs; what is missing is named on the page. An unchanged run gives the same bytes.
    """
    run = read_run(folder)
    content = gather(run)
    into = Path(out) if out is not None else run.path
    into.mkdir(parents=True, exist_ok=True)
    pages = (into / "report.html", render_html(content)), (into / "report.md", render_markdown(content))
    for path, body in pages:
        _write(path, body)
    return pages[0][0], pages[1][0]


def render_html(content: Content) -> str:
    """The page. Whatever a model wrote is escaped by the template engine and shown with its invisible characters."""
    from markupsafe import Markup

    summary = content.summary
    metrics = summary["metrics"]
    skills = list(
        dict.fromkeys(s for a in summary["arms"] if metrics and metrics[0] in a["metrics"] for s in a["metrics"][metrics[0]]["by_skill"])
    )
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            c=content,
            css=Markup((HERE / "style.css").read_text(encoding="utf-8")),  # our own file, not a model's text
            rows={m: arm_rows(summary, m) for m in metrics},
            skills=skills if len(skills) > 1 else [],
            paid=any(r["usd"] for r in content.costs),
            sections=sections(content),
            glossary=words.GLOSSARY,
        )
    )


def sections(content: Content) -> list[tuple[str, str]]:
    """(anchor, title) of the sections that this run has something for."""
    parts: list[tuple[str, str, Any]] = [
        ("arms", "Who learned how much", content.plots),
        ("system", "What was tried", True),
        ("claims", "The paper and here", content.claims),
        ("preference", "Preference", content.preference),
        ("written", "What the teacher wrote", content.written),
        ("yields", "Yields", content.yields),
        ("lineage", "Lineage", content.chains),
        ("cost", "Cost", content.costs),
        ("sources", "Models and data", True),
        ("again", "Run it again", True),
        ("words", "Words", True),
    ]
    return [(anchor, title) for anchor, title, there in parts if there]


@cache
def _environment() -> Any:
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader
    from markupsafe import Markup

    def show(value: Any) -> Any:
        """Numbers and our own markup as they are; every other value with invisible characters made visible, before it is escaped."""
        # A number and its percent sign stay on one line.
        return value if isinstance(value, Markup | int | float) else text.plain(value).replace(" %", "\u00a0%")

    def maybe(said: Callable[[Any], str]) -> Callable[[Any], str]:
        """A field that an unfinished or older run does not have is shown like an unknown number."""
        return lambda value: said(None if isinstance(value, ChainableUndefined) else value)

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=ChainableUndefined, finalize=show, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": maybe(text.percent),
        "points": maybe(text.points),
        "number": maybe(text.number),
        "seconds": maybe(text.seconds),
        "ratio": maybe(text.ratio),
        "shown": lambda v: text.plain(v, longest=text.LONGEST_SHOWN),
        "spaced": lambda v: str(v).replace("_", " "),
        "sparkline": sparkline,
        "metric": text.metric_words,
        "part": _part,
        "link_text": link_text,
        "link_title": link_title,
        "chain_summary": chain_summary,
    }
    return environment


def _part(step: Mapping[str, Any], key: str) -> float:
    """Share of what was asked, in percent of a bar's width."""
    return round(min(100.0, 100 * step[key] / step["asked"]), 1) if step["asked"] else 0.0


def _write(path: Path, body: str) -> None:
    # Readers may have the page open while a run rewrites it: they see the old page or the new one.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(body, encoding="utf-8", errors="backslashreplace")
        os.replace(part, path)
    except OSError as problem:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise storage_error(path, problem) from problem
