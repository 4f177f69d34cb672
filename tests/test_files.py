import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from ltx2core.errors import LTX2Error
from ltx2core.files import atomic_path, write_json


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB, where the system lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root on Linux")
    yield place
    subprocess.run(["umount", place], check=True)


def test_full_disk_is_said_and_the_old_file_stays(small_disk):
    path = small_disk / "a.safetensors"
    with atomic_path(path) as temporary:
        save_file({"x": torch.arange(10)}, temporary)
    before = path.read_bytes()
    with pytest.raises(LTX2Error, match=r"disk is full: .*a\.safetensors"), atomic_path(path) as temporary:
        save_file({"x": torch.zeros(10**6)}, temporary)
    with pytest.raises(LTX2Error, match="disk is full"):
        write_json(path, list(range(10**6)))
    assert path.read_bytes() == before and os.listdir(small_disk) == ["a.safetensors"]


def test_an_error_inside_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "sub" / "b.json") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert os.listdir(tmp_path / "sub") == []
