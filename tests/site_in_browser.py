"""The built site as a reader meets it, on a phone and on a desk, light and dark: `make site-browser` runs this."""

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
PALE = """() => {  // texts whose contrast to what is behind them is below WCAG's AA
  const numbers = colour => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = c => c.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (top, below) => top.slice(0, 3).map((v, i) => v * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
  const ground = e => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.length && (colour[3] ?? 1) > 0) layers.push(colour);
      if (colour.length && (colour[3] ?? 1) === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || e.closest('script, style, noscript, svg, .headerlink')) continue;
    if (!e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const style = getComputedStyle(e), behind = ground(e);
    const [dark, light] = [luminance(over(numbers(style.color), behind)), luminance(behind)].sort((a, b) => a - b);
    const ratio = (light + 0.05) / (dark + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const key = `${e.tagName}.${e.className} ${style.color} on ${behind.map(Math.round)}`;
    if (ratio < (large ? 3 : 4.5)) found.set(key, `${ratio.toFixed(2)} ${key}: ${e.textContent.trim().slice(0, 40)}`);
  }
  return [...found.values()];
}"""
TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const beyond = [...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > width + 1);
  return ['the page scrolls sideways', ...beyond.slice(0, 5).map(e => e.outerHTML.slice(0, 80))];
}"""


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


@pytest.fixture(scope="module")
def chromium():
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    try:
        with browser.chromium() as opened:
            yield opened
    except browser.BrowserError as error:
        pytest.exit(str(error), returncode=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_every_page_fits_and_reads(chromium, address, screen, scheme):
    page, problems = browser.watched_page(chromium, color_scheme=scheme, **SCREENS[screen])
    found = []
    for name in PAGES:
        page.goto(f"{address}/{name}.html")
        page.wait_for_load_state()
        found += [f"{name}: {what}" for what in page.evaluate(TOO_WIDE) + page.evaluate(PALE)]
        page.screenshot(path=SCREENSHOTS / f"{name}_{screen}_{scheme}.png")
        for part, selector in PARTS.items():
            if (first := page.locator(selector).first).count():
                first.scroll_into_view_if_needed()
                page.screenshot(path=SCREENSHOTS / f"{name}_{screen}_{scheme}_{part}.png")
        assert page.get_attribute("html", "lang") == "en"
    page.context.close()
    assert found + problems == []


def test_search_finds_a_word(chromium, address):
    page, problems = browser.watched_page(chromium)
    page.goto(f"{address}/index.html")
    page.fill("input[name=q]", "pooling")
    page.press("input[name=q]", "Enter")
    page.wait_for_selector("#search-results li a")
    page.wait_for_timeout(1000)
    titles = page.locator("#search-results li > a").all_inner_texts()
    page.screenshot(path=SCREENSHOTS / "search.png")
    page.context.close()
    assert any("Text encoders" in title for title in titles), titles
    assert problems == []


def test_the_first_tab_leads_to_the_content(chromium, address):
    page, _ = browser.watched_page(chromium)
    page.goto(f"{address}/glossary.html")
    page.keyboard.press("Tab")
    target = page.evaluate("() => document.activeElement.getAttribute('href')")
    assert page.locator(target).count() == 1
    assert page.evaluate("() => document.querySelector('[lang=zh]').textContent") == "术语表"
    page.context.close()
