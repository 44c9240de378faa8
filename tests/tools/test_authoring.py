from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import authoring


@pytest.fixture
def written(tmp_path):
    def write(*sources):
        path = tmp_path / "lesson.ipynb"
        cells = [new_markdown_cell("# A lesson"), *map(new_code_cell, sources)]
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return write


def test_execute_stores_outputs_and_nothing_else(written):
    path = written("print('one', end='\\r')\nprint('two')", "import ipywidgets\nipywidgets.IntSlider()", "1 + 1")
    authoring.execute(path)
    notebook = nbformat.read(path, as_version=4)
    printed, slider, two = (cell.outputs for cell in notebook.cells[1:])
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3]
    assert printed[0].text == "two\n"  # of a progress bar, the last state
    assert slider[0].data == {"text/plain": "An interactive widget: run this cell to use it."}
    assert two[0].data["text/plain"] == "2"
    assert notebook.metadata == authoring.METADATA
    assert all(not cell.metadata for cell in notebook.cells)


@pytest.mark.parametrize(
    ("source", "said"),
    [("1 / 0", "division by zero"), ("import warnings\nwarnings.warn('mind')", "cell 1 writes to stderr.*mind")],
)
def test_execute_leaves_a_notebook_that_fails_as_it_was(written, source, said):
    path = written(source)
    before = path.read_bytes()
    with pytest.raises(authoring.AuthoringError, match=f"(?s){said}"):
        authoring.execute(path)
    assert path.read_bytes() == before


def test_execute_says_which_notebook_took_too_long(written):
    path = written("import time\ntime.sleep(60)")
    before = path.read_bytes()
    with pytest.raises(authoring.AuthoringError, match=r"lesson\.ipynb is unchanged.*more than 2 seconds"):
        authoring.execute(path, timeout=2)
    assert path.read_bytes() == before


def test_tidy_joins_what_was_printed_in_pieces():
    outputs = [new_output("stream", name="stdout", text=text) for text in ("a", "b\n", "10%\r50%\r100%\r\n")]
    notebook = new_notebook(cells=[new_code_cell("x", outputs=outputs, metadata={"collapsed": True, "tags": ["kept"]})])
    authoring.tidy(notebook)
    assert [output.text for output in notebook.cells[0].outputs] == ["ab\n100%\n"]
    assert notebook.cells[0].metadata == {"tags": ["kept"]}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "notebooks" / "homework").mkdir(parents=True)
    badge, cell = authoring.badge("old-owner/old.name", "00_x.ipynb"), authoring.setup_cell("old-owner/old.name", "00")
    notebook = new_notebook(cells=[new_markdown_cell(badge), new_code_cell(cell)])
    nbformat.write(notebook, tmp_path / "notebooks" / "00_x.ipynb")
    (tmp_path / "README.md").write_text(badge + " but github.com/old-owner/old.names stays")
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/old-owner/old.name"\n')
    monkeypatch.setattr(authoring, "ROOT", tmp_path)
    return tmp_path


def test_stamp_renames_everywhere_and_nothing_else(repository):
    assert len(authoring.stamp("new-owner/new")) == 3
    assert authoring.slug() == "new-owner/new"
    notebook = nbformat.read(repository / "notebooks" / "00_x.ipynb", as_version=4)
    assert notebook.cells[0].source == authoring.badge("new-owner/new", "00_x.ipynb")
    assert notebook.cells[1].source == authoring.setup_cell("new-owner/new", "00")
    assert "old-owner/old.names stays" in (repository / "README.md").read_text()
    assert authoring.stamp(None) == []  # nothing left to do


@pytest.mark.parametrize("name", ["owner", "owner/name/more", "owner name/x", ""])
def test_stamp_refuses_what_is_no_name(repository, name):
    with pytest.raises(authoring.AuthoringError, match="owner/name"):
        authoring.stamp(name)
