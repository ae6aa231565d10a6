"""The notebook and its text are one; that it runs, nbmake sees."""

from pathlib import Path

import jupytext

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"


def test_the_notebook_and_its_text_have_the_same_cells():
    cells = [
        [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]
        for path in (NOTEBOOK, NOTEBOOK.with_suffix(".py"))
    ]
    assert cells[0]
    assert cells[0] == cells[1]
