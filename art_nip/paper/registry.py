"""The paper's tables and figures by name. A new one is a file of this package and a line below."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from art_nip.utils.validation import check_choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from art_nip.paper.setting import Setting

EXHIBITS: dict[str, str] = {
    "ladder": "art_nip.paper.ladder",
}
"""The module of each table or figure, by its name, in the order in which they are made."""


class Exhibit(Protocol):
    """What the module of a table or figure has."""

    def measure(self, setting: Setting) -> Any:
        """Return results; what is in the folder already is not computed again."""

    def markdown(self, results: Any) -> str:
        """Return results as a page of Markdown."""

    def figure(self, results: Any) -> Figure:
        """Return results as a figure."""


def get(name: str) -> Exhibit:
    """Return the module of a table or figure.

    :raises ValueError: if there is none of that name; the message names the nearest.
    """
    check_choice("table or figure", name, tuple(EXHIBITS))
    return cast(Exhibit, import_module(EXHIBITS[name]))
