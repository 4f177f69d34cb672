"""Reading ahead: in order, beside other work, and at an end when nobody asks any more."""

import threading
from contextlib import closing

import pytest

from ltx2core.cache.ahead import CLIPS, VIDEO, WAITING, Stages, read_ahead


def test_the_next_is_read_while_the_first_is_worked_on():
    began = {i: threading.Event() for i in range(10)}

    def read(i):
        began[i].set()
        return i * i

    found = []
    for i, result in read_ahead(range(10), read):
        assert began[min(9, i + 3)].wait(10)
        found.append((i, result.result()))
    assert found == [(i, i * i) for i in range(10)]


def test_a_fault_comes_out_at_its_place_and_reading_ends_with_the_loop():
    read_so_far = []

    def read(i):
        read_so_far.append(i)
        if i == 1:
            raise ValueError("broken")
        return i

    with closing(read_ahead(range(100), read)) as coming:
        for i, result in coming:
            if i == 1:
                with pytest.raises(ValueError, match="broken"):
                    result.result()
            elif i == 2:
                break
            else:
                assert result.result() == i
    assert len(read_so_far) <= 7


def test_shares_of_stages_are_told():
    stages = Stages(began=0.0, seconds={WAITING: 3.0, VIDEO: 6.0})
    stages.__class__ = type("Later", (Stages,), {"total": 12.0})
    assert stages.told(24, CLIPS) == "Clips: 24 in 12.0 s, 2 a second; 25% for waiting for files, 50% for the video VAE."
    assert stages.told(0, CLIPS) == "Clips: nothing had to be made."
