"""What a person is told when a device runs out of memory, and that nothing of the failed work stays."""

import weakref

import pytest
import torch

from ltx2core.cli import main
from ltx2core.errors import LTX2Error
from ltx2core.memory.exhausted import exhaustion_told, in_use
from ltx2core.tiny import write_tiny_checkpoint

CPU = torch.device("cpu")


def test_it_is_said_in_order_and_the_work_is_let_go():
    left, freed = [], []

    def work():
        tensor = torch.zeros(1000)
        left.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(LTX2Error, match="A card has 24.0 GiB, of which 23.9 were in use") as raised, exhaustion_told(
        CPU, lambda: freed.append(left[0]() is None), lambda _: "A card has 24.0 GiB, of which 23.9 were in use, 20.0 by this program"
    ):  # fmt: skip
        work()
    said = str(raised.value)
    assert freed == [True]  # before memory is given back to others
    assert said.index("smaller width and height") < said.index("49 or 33") < said.index("streamed")


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), exhaustion_told(CPU):
        _ = 1 / 0
    assert in_use(CPU) == ""


def test_the_command_line_says_it_too(tmp_path, capsys, monkeypatch):
    write_tiny_checkpoint(tmp_path / "tiny.safetensors")

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("ltx2core.checkpoint.inspect.inspect_checkpoint", full)
    assert main(["inspect", str(tmp_path / "tiny.safetensors")]) == 1
    printed = capsys.readouterr().err
    assert "error: The device ran out of memory. Try, in this order" in printed and "Traceback" not in printed


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_the_card_s_own_numbers(tmp_path):
    device = torch.device("cuda")
    with pytest.raises(LTX2Error, match=r"has [0-9.]+ GiB, of which [0-9.]+ were in use"), exhaustion_told(device):
        torch.empty(2**50, dtype=torch.uint8, device=device)
