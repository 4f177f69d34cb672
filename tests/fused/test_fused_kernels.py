"""Every Triton kernel against its plain form: on a card, or interpreted on a processor where Triton is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PACK = Path(__file__).resolve().parents[2]


def test_kernels_equal_the_plain_forms():
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = dict(os.environ) if torch.cuda.is_available() else {**os.environ, "TRITON_INTERPRET": "1"}
    worker = Path(__file__).with_name("kernel_worker.py")
    done = subprocess.run([sys.executable, str(worker)], env=environment, cwd=PACK, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 12, done.stdout
