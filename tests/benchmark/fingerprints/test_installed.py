"""Packages that `pip install --target` has put into a folder, and the user's own modules there."""

import os
import subprocess
import sys
from importlib import import_module

import pytest

from art_nip.benchmark.fingerprints import fingerprint
from art_nip.benchmark.fingerprints.code import parts_of_module
from art_nip.benchmark.fingerprints.installed import is_installed, version_of


def test_a_package_that_pip_has_put_elsewhere_counts_by_its_version(tmp_path):
    """`pip install --target`, for machines without a network and for clusters."""
    code = (
        "import packed; from art_nip.benchmark.fingerprints import fingerprint;"
        "print(fingerprint(packed))"
    )

    def found(size: int, version: str, record: str = "packed.py,,\n") -> str:
        (tmp_path / "packed.py").write_text(f"SIZE = {size}\n")
        folder = tmp_path / "packed.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(f"Name: packed\nVersion: {version}\n")
        (folder / "RECORD").write_text(record)
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        ).stdout  # fmt: skip

    assert found(1, "1") == found(2, "1") != found(2, "2")
    assert found(1, "1", record="") != found(2, "1", record="")


METADATA = b"Name: packed\nVersion: 7\n"


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """Return what makes a folder with an installed package, and gives the parts of a module."""
    monkeypatch.chdir(tmp_path.parent)
    fingerprint(lambda x: x)  # `sys.path` changes after the first fingerprint.

    def parts(name, record, metadata=METADATA):
        folder, file = tmp_path / "packed.dist-info", tmp_path / f"{name.replace('.', '/')}.py"
        for path, content in {
            file: b"SIZE = 1\n", folder / "RECORD": record, folder / "METADATA": metadata,
        }.items():  # fmt: skip
            if content is not None:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
        with monkeypatch.context() as there:
            there.syspath_prepend(tmp_path.name)
            module = import_module(name)
        return list(parts_of_module(module))

    yield parts
    for name in ("beside", "space", "space.own", "space.part"):
        sys.modules.pop(name, None)
        is_installed.cache_clear()
        version_of.cache_clear()


@pytest.mark.parametrize("record", [b"packed.py,,\nspace/part.py,,\n", b"/etc/x,,\n../x,,\n"])
@pytest.mark.parametrize("name", ["beside", "space.own"])
def test_the_users_modules_beside_such_a_package_count(packed, record, name):
    """Whatever its record lists, of a namespace that it shares with them or anywhere else."""
    assert b"SIZE = 1\n" in packed(name, record)


@pytest.mark.parametrize(("name", "record"), [("beside", b"beside.py,,\n"),
                                              ("space.part", b"space/part.py,,\n")])  # fmt: skip
def test_a_folder_of_packages_may_be_relative_and_need_not_stay_on_the_path(packed, name, record):
    assert packed(name, record) == [name, "packed 7"]


@pytest.mark.parametrize(
    ("record", "metadata"),
    [(b"beside.py,,\n", b""), (b"beside.py,,\n", None), (b"beside.py,,\n\xff", METADATA)],
)
def test_code_counts_where_records_of_it_are_damaged(packed, record, metadata):
    assert b"SIZE = 1\n" in packed("beside", record, metadata)
