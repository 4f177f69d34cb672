"""What the pack's own processes ask of PyTorch's allocator, beside what a person or a host has set."""

import subprocess
import sys
from pathlib import Path

import pytest

from ltx2core.card_memory import ask_for_segments, leave_the_hosts
from ltx2core.distributed import launch

ROOT = Path(__file__).resolve().parents[2]
SEGMENTS = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"} if sys.platform == "linux" else {}


@pytest.mark.parametrize("own", [{"PYTORCH_ALLOC_CONF": "a:1"}, {"PYTORCH_CUDA_ALLOC_CONF": "a:1"}, {"PYTORCH_HIP_ALLOC_CONF": "a:1"}, {"PYTORCH_CUDA_ALLOC_CONF": ""}])
def test_a_persons_choice_stays(own):
    """PyTorch reads the CUDA name before the one for AMD, so setting it would hide the other."""
    found = dict(own)
    ask_for_segments(found)
    assert found == own


def test_who_has_chosen_nothing_gets_segments():
    found = {"PATH": "x"}
    ask_for_segments(found)
    assert found == {"PATH": "x", **SEGMENTS}


@pytest.mark.parametrize("hosts, left", [("backend:cudaMallocAsync", SEGMENTS), ("max_split_size_mb:512,backend:cudaMallocAsync", {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"})])
def test_processes_on_several_cards_do_without_the_hosts_allocator(hosts, left, monkeypatch):
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", hosts)
    found = launch._environment()
    assert {k: v for k, v in found.items() if "ALLOC_CONF" in k} == left and found["PYTHONIOENCODING"] == "utf-8"
    other = {"PATH": "backend:cudaMallocAsync"}
    leave_the_hosts(other)
    assert other == {"PATH": "backend:cudaMallocAsync"}


def test_it_is_set_before_torch_is_there():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import ltx2core.card_memory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
