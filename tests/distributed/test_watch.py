"""Silence of a process, seen through torchrun's store, and what is called then."""

import time

import pytest
import torch.distributed as dist

from ltx2core.distributed import watch
from ltx2core.distributed.group import CardGroups


@pytest.fixture
def pair(monkeypatch):
    """(the watch of rank 0, that of rank 1, calls of the first one's ``lost``), beating fast."""
    monkeypatch.setattr(watch, "INTERVAL", 0.05)
    monkeypatch.setattr(watch, "WAITING_PATIENCE", 0.5)
    host = dist.TCPStore("127.0.0.1", 0, is_master=True)
    calls = []
    made = [watch.Watch(watch.connect("127.0.0.1", host.port), rank, 2, lambda: calls.append(1)) for rank in (0, 1)]
    yield *made, calls
    for one in made:
        one.close()


def until(found, seconds=30):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


def silence(other):
    """The other process's thread ends as with a kill: nothing is said."""
    other._end.set()
    other._thread.join()


def test_one_who_waits_notices_soon(pair):
    ours, theirs, calls = pair
    ours.hurry(True)
    time.sleep(1)
    assert ours.cause is None  # it beats
    silence(theirs)
    until(lambda: ours.cause)
    assert "rank 1 of 2" in ours.cause and "died" in ours.cause and calls == [1]


def test_silence_while_nobody_waits_is_borne(pair):
    ours, theirs, calls = pair
    silence(theirs)
    time.sleep(1)
    assert ours.cause is None and not calls
    ours.hurry(True)
    until(lambda: ours.cause)


def test_a_process_that_is_done_is_not_missed(pair):
    ours, theirs, _ = pair
    theirs.close()
    ours.hurry(True)
    time.sleep(1)
    assert ours.cause is None


def test_groups_are_ended_once_and_none_is_added_later():
    class Group:
        ended = 0

        def abort(self):
            self.ended += 1

    groups, first, late = CardGroups(), Group(), Group()
    groups.add(first)
    groups.add(first)
    groups.abort()
    groups.add(late)
    groups.abort()
    assert (first.ended, late.ended) == (1, 0)
