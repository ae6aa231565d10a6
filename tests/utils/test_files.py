"""Files that are there whole or not at all."""

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from art_nip.utils.files import (
    check_writable,
    clear_leftovers,
    reading,
    replacing,
    write_arrays,
    write_bytes,
)

if sys.platform != "win32":
    import resource

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither")


@posix_only
def test_of_a_link_the_file_that_it_leads_to_is_replaced(tmp_path):
    disk, target, link = tmp_path / "disk", tmp_path / "disk" / "file", tmp_path / "link"
    disk.mkdir()
    link.symlink_to(target)
    for content in (b"new", b"newer"):
        with replacing(link) as temporary:
            assert temporary.parent.parent == disk
            temporary.write_bytes(content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert os.listdir(disk) == ["file"]


@posix_only
def test_what_is_no_file_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match=r"pipe is a device, .* give the name of a file"):
        write_bytes(pipe, b"lost")
    with pytest.raises(ValueError, match="is a folder; give the name of a file in it"):
        write_bytes(tmp_path, b"lost")
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_what_cannot_be_written_is_told_before_it_is_computed(tmp_path):
    check_writable(tmp_path / "new" / "folder" / "file")
    (tmp_path / "file").write_bytes(b"old")
    check_writable(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(NotADirectoryError, match="file is a file, and no folder"):
        check_writable(tmp_path / "file" / "other")
    with pytest.raises(ValueError, match="is a folder"):
        check_writable(tmp_path)
    if sys.platform == "linux":  # where not even root may write
        with pytest.raises(OSError, match=r"/proc/file cannot be written: .* the folder /proc"):
            check_writable(Path("/proc/file"))


@posix_only
def test_leftovers_of_the_dead_are_removed_and_what_the_living_write_is_not(tmp_path):
    path = tmp_path / "bank[1]"
    left = tmp_path / ".bank[1].abcdefgh.tmp"
    others = [tmp_path / name for name in (".bank1.abcdefgh.tmp", ".bank[1].tmp", "bank[1].old")]
    left.mkdir()
    for file in (left / "bank[1]", *others):
        file.touch()
    with replacing(path) as temporary:
        temporary.write_bytes(b"whole")
        clear_leftovers(path)
        assert not left.exists()
        assert temporary.is_file()
    assert path.read_bytes() == b"whole"
    assert set(tmp_path.iterdir()) == {path, *others}


@posix_only
def test_many_can_write_one_file_at_once(tmp_path):
    path, faults = tmp_path / "file", []

    def write(array):
        try:
            for _ in range(20):
                clear_leftovers(path)
                write_arrays(path, {"x": array})
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(np.full(1000, n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    with reading(path, "") as file:
        assert np.ptp(file.get_tensor("x")) == 0
    assert os.listdir(tmp_path) == ["file"]


@posix_only
def test_what_is_too_large_for_the_disk_is_an_error_of_the_disk(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"bank cannot be written: .*too large"):
            write_arrays(tmp_path / "bank", {"x": np.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not os.listdir(tmp_path)
