"""The package as a whole: what importing it costs, and that its pictures of itself are true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import art_nip


@pytest.mark.parametrize("module", ["art_nip", "art_nip.nip.neurons", "art_nip.zoo", "art_nip.cli"])
def test_importing_imports_no_framework(module):
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'tensorflow'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_lazy_but_there():
    for name in art_nip.__all__:
        assert getattr(art_nip, name)
    with pytest.raises(AttributeError, match="has no attribute 'NIPPreprocesor'"):
        art_nip.NIPPreprocesor  # noqa: B018


def test_what_the_documents_link_to_is_there():
    root = Path(__file__).parents[1]
    for page in (root / "README.md", *root.glob("docs/**/*.md")):
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], page
