"""The package as a whole: what importing it costs, and that its pictures of itself are true."""

import re
import subprocess
import sys
from importlib import import_module
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


def test_what_the_documents_call_of_packages_is_there():
    """In a process of its own: in this one, other tests have imported more than a user has."""
    root = Path(__file__).parents[1]
    calls = set()
    for page in (root / "README.md", *root.glob("docs/**/*.md")):
        text = page.read_text(encoding="utf-8")
        for imported in re.findall(r"^from art_nip import (.+)$", text, re.MULTILINE):
            for name in imported.split(", "):
                calls |= set(re.findall(rf"(?<![\w.]){name}(?:\.\w+)+(?=\()", text))
    assert "zoo.origins.load" in calls
    names = sorted({call.partition(".")[0] for call in calls})
    code = f"from art_nip import {', '.join(names)}; {'; '.join(sorted(calls))}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_documents_link_to_is_there():
    root = Path(__file__).parents[1]
    for page in (root / "README.md", *root.glob("docs/**/*.md")):
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], page


@pytest.mark.parametrize(
    "package",
    [
        "art_nip",
        *(f"art_nip.{name}" for name in ("attacks", "benchmark", "data", "defences", "detection")),
        *(f"art_nip.{name}" for name in ("plots", "testing", "zoo", "zoo.origins")),
        *(f"art_nip.nip.retrieval{name}" for name in ("", ".evidence")),
    ],
)
def test_all_classes_and_functions_that_users_meet_are_documented(package):
    pages = Path(__file__).parents[1] / "docs/api"
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages.glob("*.md"))
    names = {name for name in import_module(package).__all__ if re.search("[a-z]", name)}
    names -= {"__version__"}
    # Of a defence, the class for NumPy has the text for the others.
    names = {re.sub("(?<=.)(PyTorch|TensorFlowV2)$", "", name) for name in names}
    whole = re.search(rf"automodule:: {re.escape(package)}\n(?!   :no-members:)", text)
    found = set(re.findall(r"auto(?:class|function|exception):: \S*\.(\w+)", text))
    of_modules = {"AutoAttack"}  # of art_nip.attacks.foreign
    assert whole or names - found - of_modules == set()
