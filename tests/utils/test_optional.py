"""A package that is missing is named, with what to install."""

import sys

import pytest

from art_nip.utils.optional import require


def test_require_gives_the_module():
    assert require("json", to="read", install="nothing") is sys.modules["json"]


def test_require_passes_on_what_is_missing_inside(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)
    with pytest.raises(ImportError, match=r"PIL\.Image to decode images: pip install 'Pillow'"):
        require("PIL.Image", to="decode images", install="Pillow")
