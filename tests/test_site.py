"""How the site's pages are gathered, and what the check of the built pages catches. Sphinx is not needed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pages
import pytest
import sources

from tools import authoring

REPOSITORY = "https://github.com/owner/name/blob/main/"


def lesson(*texts):
    return {"cells": [{"cell_type": "markdown", "source": text.splitlines(keepends=True)} for text in texts]}


TABLE = "| English | 中文 | in one line |\n|---|---|---|\n| **attention** | 注意力 | looks |"
TERMS = f"# 04\n\n## Key terms\n\n{TABLE}\n\n## Exercises"


# --- gathering --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "wanted"),
    [
        ("00_start_here.ipynb", "00_start_here.ipynb"),
        ("00_start_here.ipynb#Recap", "00_start_here.ipynb#Recap"),
        ("../data/README.md", f"{REPOSITORY}data/README.md"),
        ("homework/00_start_here.ipynb", f"{REPOSITORY}notebooks/homework/00_start_here.ipynb"),
        ("../docs/own_pictures.md", "own_pictures.md"),
        ("#part", "#part"),
        ("https://example.org/a", "https://example.org/a"),
    ],
)
def test_links_are_adjusted_for_the_web(link, wanted):
    assert sources.web_links(f"See [this]({link}).", "notebooks", REPOSITORY) == f"See [this]({wanted})."


def test_links_of_the_readme_lead_to_the_sites_lessons():
    assert sources.web_links("[a](notebooks/01_a.ipynb)", ".", REPOSITORY) == "[a](01_a.ipynb)"


def test_chinese_is_marked_and_code_is_not():
    said = sources.mark_chinese("token 词元、子词 and `词元`")
    assert said == 'token <span lang="zh">词元、子词</span> and `词元`'


def test_a_badge_becomes_a_link_without_a_picture_of_another_host():
    notebook = lesson(f"# 00\n\n{authoring.badge('owner/name', '00_a.ipynb')}")
    text = sources.for_the_web(notebook, REPOSITORY)["cells"][0]["source"]
    assert text == (
        "# 00\n\n[Open in Colab](https://colab.research.google.com/github/owner/name/blob/main/notebooks/00_a.ipynb)"
    )


def test_key_terms_are_read_from_their_table_alone():
    terms = sources.key_terms(lesson("| no | 不 | x |\n|---|---|---|\n| no | 不 | x |", TERMS), "04_x")
    assert terms == [sources.Term("**attention**", "注意力", "looks", "04_x")]
    assert sources.key_terms(lesson("# nothing"), "04_x") == []


def test_the_glossary_is_sorted_and_lists_both_lessons_of_a_term():
    terms = [
        sources.Term("Patch", "图像块", "a square", "02_b"),
        sources.Term("attention", "注意力", "looks", "00_a"),
        sources.Term("**Attention**", "注意力", "weighs", "07_c"),
    ]
    page = sources.glossary(terms)
    rows = [line for line in page.splitlines() if "ipynb" in line]
    assert rows[0] == (
        '| attention | <span lang="zh">注意力</span> | looks<br>weighs | [00](00_a.ipynb) · [07](07_c.ipynb) |'
    )
    assert len(rows) == 2 and "Patch" in rows[1]
    assert re.findall(r"^## (.*)$", page, flags=re.M) == ["A", "P"]


def test_every_lesson_adds_its_terms():
    for path in authoring.lessons():
        terms = sources.key_terms(json.loads(path.read_text(encoding="utf-8")), path.stem)
        assert terms, path.name
        assert [t for t in terms if not re.search("[\u4e00-\u9fff]", t.chinese) or not t.meaning] == [], path.name


@pytest.mark.parametrize("measured", [False, True], ids=["before the ladder", "with the ladder"])
def test_the_landing_page_holds_map_lessons_and_what_was_measured(measured):
    figures = {"map.png": "The map [of it]"} | ({"ladder.png": "The ladder"} if measured else {})
    readme = (authoring.ROOT / "README.md").read_text(encoding="utf-8")
    page = sources.landing_page(readme, authoring.lessons(), [Path("docs/own_pictures.md")], figures, REPOSITORY)
    assert page.startswith("# Cross-modal alignment for language models")
    assert r"![The map \[of it\]](map.png)" in page and "colab-badge" not in page
    assert ("![The ladder](ladder.png)" in page) is measured
    for path in authoring.lessons():
        assert f"]({path.name})" in page and f"<{path.stem}>" in page
    assert "\nglossary\n" in page and "\nown_pictures\n" in page and "(own_pictures.md)" in page
    assert "(glossary.md)" in page and "](notebooks/" not in page


def test_everything_is_gathered(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "draw_figures", lambda folder: {"map.png": "The map"})
    lessons = sources.gather(tmp_path / "pages")
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {
        "index.md", "glossary.md", "own_pictures.md", *(path.name for path in lessons),
    }  # fmt: skip


def test_a_project_without_an_address_is_reported(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(ValueError, match="no Repository"):
        sources.repository_of(tmp_path)


# --- checking ---------------------------------------------------------------------------------------------------

GOOD = '<html lang="en"><body><h1 id="top">A</h1><h2>B</h2><img src="a.png" alt="a"><a href="b.html#there">b</a></body>'
PLANTED = {
    "broken link": ('href="b.html#there"', 'href="c.html"', "broken link: c.html"),
    "broken anchor": ("#there", "#gone", "broken anchor: b.html#gone"),
    "broken own anchor": ("b.html#there", "#gone", "broken anchor: #gone"),
    "link out of the site": ("b.html#there", "../secret.html", "broken link: ../secret.html"),
    "malformed address": ("b.html#there", "https://[half", "malformed address"),
    "address without a host": ("b.html#there", "https:///path", "malformed address"),
    "path of a machine": ("b.html#there", "file:///etc/hosts", "unknown kind: file"),
    "missing picture": ("a.png", "gone.png", "broken link: gone.png"),
    "picture of another host": ("a.png", "https://example.org/a.png", "needs the network"),
    "no alternative text": ('alt="a"', "", "without alternative text: a.png"),
    "empty alternative text": ('alt="a"', 'alt=" "', "without alternative text: a.png"),
    "no language": (' lang="en"', "", "does not declare its language"),
    "two titles": ("<h2>B</h2>", "<h1>B</h1>", "2 headings of the first level"),
    "level left out": ("<h2>B</h2>", "<h3>B</h3>", "level 3 follows one of level 1"),
}


@pytest.fixture
def site(tmp_path):
    (tmp_path / "secret.html").write_text(GOOD)
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "a.png").touch()
    (folder / "index.html").write_text(GOOD)
    (folder / "b.html").write_text('<html lang="en"><h1 id="there">B</h1><a href="https://example.org/x">x</a>')
    return folder


def test_a_good_site_passes(site):
    assert pages.problems(site) == []


@pytest.mark.parametrize(("old", "new", "said"), PLANTED.values(), ids=PLANTED)
def test_a_planted_defect_is_caught(site, old, new, said):
    assert old in GOOD
    (site / "index.html").write_text(GOOD.replace(old, new))
    found = pages.problems(site)
    assert len(found) == 1 and found[0].startswith("index.html: ") and said in found[0]


def test_a_site_that_was_not_built_is_reported(tmp_path):
    assert "run `make site`" in pages.problems(tmp_path)[0]
