"""The built site on a phone and on a desktop, light and dark: `make site-browser` runs this."""

from __future__ import annotations

import functools
import http.server
import threading

import pytest

from tools import authoring, browser

SITE = authoring.ROOT / "build" / "site"
SCREENSHOTS = authoring.ROOT / "runs" / "site"
SCREENS = {
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
    "desktop": {"viewport": {"width": 1280, "height": 900}},
}
PAGES = ["index", "glossary", *(path.stem for path in authoring.lessons())]
PARTS = {"formula": "article div.math", "table": "article table.dataframe", "figure": ".cell_output img"}  # the first


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    assert (SITE / "index.html").exists(), "Build the site first: make site"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("screen", "scheme"),
    [
        pytest.param(screen, scheme, marks=pytest.mark.browser_context_args(color_scheme=scheme, **options))
        for screen, options in SCREENS.items()
        for scheme in ("light", "dark")
    ],
)
def test_every_page_fits_and_reads(context, address, screen, scheme):
    page, problems = browser.watched_page(context)
    found = []
    for name in PAGES:
        page.goto(f"{address}/{name}.html")
        page.wait_for_load_state()
        found += [f"{name}: {what}" for what in page.evaluate("course.tooWide().concat(course.pale())")]
        page.screenshot(path=SCREENSHOTS / f"{name}_{screen}_{scheme}.png")
        for part, selector in PARTS.items():
            if (first := page.locator(selector).first).count():
                first.scroll_into_view_if_needed()
                page.screenshot(path=SCREENSHOTS / f"{name}_{screen}_{scheme}_{part}.png")
        assert page.get_attribute("html", "lang") == "en"
    assert found + problems == []


def test_search_finds_a_word(context, address):
    page, problems = browser.watched_page(context)
    page.goto(f"{address}/index.html")
    page.fill("input[name=q]", "pooling")
    page.press("input[name=q]", "Enter")
    page.wait_for_selector("#search-results li a")
    page.wait_for_timeout(1000)
    titles = page.locator("#search-results li > a").all_inner_texts()
    page.screenshot(path=SCREENSHOTS / "search.png")
    assert any("Text encoders" in title for title in titles), titles
    assert problems == []


def test_the_first_tab_leads_to_the_content(context, address):
    page, _ = browser.watched_page(context)
    page.goto(f"{address}/glossary.html")
    page.keyboard.press("Tab")
    target = page.evaluate("() => document.activeElement.getAttribute('href')")
    assert page.locator(target).count() == 1
    assert page.evaluate("() => document.querySelector('[lang=zh]').textContent") == "术语表"
