"""The package as a whole: what importing it costs, and that its pictures of itself are true."""

import subprocess
import sys

import pytest

import art_nip


@pytest.mark.parametrize("module", ["art_nip", "art_nip.neurons", "art_nip.zoo", "art_nip.cli"])
def test_importing_imports_no_framework(module):
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'tensorflow'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_lazy_but_there():
    for name in art_nip.__all__:
        assert getattr(art_nip, name)
    with pytest.raises(AttributeError, match="has no attribute 'NIPPreprocesor'"):
        art_nip.NIPPreprocesor  # noqa: B018
