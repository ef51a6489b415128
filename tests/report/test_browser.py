"""The report in a real browser: no errors, no sideways scrolling on a phone, nothing fetched."""

import shutil

import pytest

from report.sample_run import write_run
from tutelage.report import write_report

CHROMIUM = "/usr/bin/chromium"


@pytest.mark.browser
def test_the_page_is_quiet_narrow_and_alone(tmp_path):
    sync = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed (extra dev)")
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"{CHROMIUM} is not installed")
    page_file, _ = write_report(write_run(tmp_path / "run", hostile=' <img src=x onerror="document.title=1"> ' + "unbroken" * 60))
    said: list[str] = []
    asked: list[str] = []
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        try:
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": 380, "height": 800}, color_scheme=scheme)
                page.on("console", lambda message: said.append(message.text))
                page.on("pageerror", lambda error: said.append(str(error)))
                page.on("request", lambda request: asked.append(request.url))
                page.goto(page_file.as_uri())
                page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide == 380, scheme
                outside = page.evaluate(
                    "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg')"
                    " && e.getBoundingClientRect().right > 381).map(e => e.tagName + '.' + e.className).slice(0, 5)"
                )
                assert outside == []
                assert page.title() == "arte on folds/shop"
                heights = page.evaluate("[...document.querySelectorAll('.plot .track')].map(e => e.getBoundingClientRect().height)")
                assert len(heights) == 14
                assert min(heights) > 10
                ink, paper = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
                assert (ink < paper) == (scheme == "light") or ink != paper
                page.close()
        finally:
            browser.close()
    assert said == []
    assert [url for url in asked if not url.startswith("file://") and url != "data:,"] == []
    assert len([url for url in asked if url.startswith("file://")]) == 2
