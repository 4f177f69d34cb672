import struct

import pytest
import torch
from safetensors.torch import save_file

from ltx2core.checkpoint.header import CheckpointError, read_header


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"x.w": torch.arange(6.0).reshape(2, 3), "y": torch.zeros(4, dtype=torch.bfloat16)}, path, {"config": '{"a": 1}'})
    return path


def test_header_agrees_with_what_was_saved(file):
    header = read_header(file)
    assert header.tensors["x.w"].shape == (2, 3) and header.tensors["x.w"].dtype == "F32"
    assert header.tensors["y"].nbytes == 8
    assert header.config == {"a": 1}
    assert set(header.with_prefix("x.")) == {"x.w"}
    raw = file.read_bytes()[header.data_start :]
    info = header.tensors["x.w"]
    assert struct.unpack("<6f", raw[info.begin : info.end]) == (0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("keep", [0, 5, 30, -1])
def test_truncated_file_is_named(file, keep):
    data = file.read_bytes()
    file.write_bytes(data[:keep])
    with pytest.raises(CheckpointError, match=r"a\.safetensors.*download"):
        read_header(file)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(CheckpointError, match="No file at"):
        read_header(tmp_path / "none.safetensors")
    other = tmp_path / "b.safetensors"
    other.write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(CheckpointError, match="not a"):
        read_header(other)


def test_impossible_header_length_is_refused_before_allocating(tmp_path):
    bomb = tmp_path / "c.safetensors"
    bomb.write_bytes((2**60).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError):
        read_header(bomb)


def test_a_type_that_the_library_does_not_know_is_named(file):
    file.write_bytes(file.read_bytes().replace(b'"BF16"', b'"BF1."'))
    with pytest.raises(CheckpointError, match="'y' is of type BF1., which safetensors cannot open; download the file again"):
        read_header(file)
