"""Check the built pages without a network: ``python docs/pages.py build/site``.

Links and anchors inside the site must resolve, and other addresses be well formed. A page may load nothing from other
hosts, must declare its language, must give pictures alternative text, and must not skip a heading level.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

MACHINE_MADE = {"genindex.html", "search.html"}  # Sphinx's own: their headings are not ours


@dataclass
class Page(HTMLParser):
    """The parts of an HTML page that are checked."""

    lang: str = ""
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)
    headings: list[int] = field(default_factory=list)
    without_alt: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the parser."""
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Record a tag."""
        has = {name: value or "" for name, value in attributes}
        self.anchors |= {has[name] for name in ("id", "name") if has.get(name)}
        if tag == "html":
            self.lang = has.get("lang", "")
        if tag == "a" and has.get("href"):
            self.links.append(has["href"])
        if tag in ("script", "img", "source", "audio", "iframe") and has.get("src"):
            self.needed.append(has["src"])
        if tag == "link" and has.get("rel") in ("stylesheet", "icon", "preload", "search", "next", "prev"):
            self.needed.append(has.get("href", ""))
        if tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            self.headings.append(int(tag[1]))
        if tag == "img" and not has.get("alt", "").strip():
            self.without_alt.append(has.get("src", "")[:60])


def read(path: Path) -> Page:
    """Parse a page."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def problems(site: Path) -> list[str]:
    """List the problems of a site, each with the name of its page."""
    pages = {path: read(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}
    if not pages:
        return [f"{site} holds no page: run `make site`"]
    found = []
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        found += [f"{name}: {problem}" for problem in page_problems(page, name in MACHINE_MADE)]
        found += [f"{name}: {problem}" for link in page.links if (problem := link_problem(link, path, site, pages))]
        found += [f"{name}: {problem}" for link in page.needed if (problem := need_problem(link, path, site, pages))]
    return found


def page_problems(page: Page, machine_made: bool = False) -> list[str]:
    """Check language, alternative texts and the order of headings."""
    found = [] if page.lang else ["the page does not declare its language"]
    found += [f"a picture without alternative text: {source}" for source in page.without_alt]
    if machine_made:
        return found
    if page.headings.count(1) != 1:
        found.append(f"{page.headings.count(1)} headings of the first level instead of one")
    steps = zip(page.headings, page.headings[1:], strict=False)
    return found + [f"a heading of level {b} follows one of level {a}" for a, b in steps if b > a + 1]


def link_problem(link: str, path: Path, site: Path, pages: dict[Path, Page]) -> str:
    """Why a link is broken; empty if it is not, or if only a network could tell."""
    try:
        parts = urlsplit(link)
        parts.port  # noqa: B018 - raises if malformed
    except ValueError as error:
        return f"malformed address {link}: {error}"
    if parts.scheme in ("http", "https"):
        good = "." in parts.netloc and not any(c.isspace() for c in link)
        return "" if good else f"malformed address {link}"
    if parts.scheme or parts.netloc:
        return "" if parts.scheme == "mailto" else f"an address of unknown kind: {link[:60]}"
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file() or not target.is_relative_to(site.resolve()):
        return f"broken link: {link}"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return f"broken anchor: {link}"
    return ""


def need_problem(link: str, path: Path, site: Path, pages: dict[Path, Page]) -> str:
    """Why a file that a page loads is missing, or needs the network; empty if neither."""
    if link.startswith("data:"):
        return ""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return f"needs the network: {link}"
    return link_problem(link.split("?")[0], path, site, pages)


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]).resolve())
    print("\n".join(wrong) or "Every link inside the site resolves.")
    sys.exit(1 if wrong else 0)
