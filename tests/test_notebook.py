"""A notebook and its text are one; that it runs, nbmake sees."""

from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.mark.parametrize("name", sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")))
def test_a_notebook_and_its_text_have_the_same_cells(name):
    import jupytext

    cells = [
        [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]
        for path in (NOTEBOOKS / f"{name}.ipynb", NOTEBOOKS / "text" / f"{name}.py")
    ]
    assert cells[0]
    assert cells[0] == cells[1]


def test_no_text_hides_a_package():
    """Kernels run in the folder of the notebooks: a `tensorflow.py` there would be imported."""
    assert not list(NOTEBOOKS.glob("*.py"))
