"""A folder of drawn clips, a tiny checkpoint and a tiny text encoder, once a session."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.demo_clips import write_demo_clips
from ltx2core.standalone import PlainResidency, StopFlag
from ltx2core.text.source import open_text_encoder
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma


@dataclass
class Recorder:
    """Keeps what the core reported; stops after ``stop_after`` events of ``stage``."""

    events: list = field(default_factory=list)
    messages: list = field(default_factory=list)
    flag: StopFlag = field(default_factory=StopFlag)
    stop_after: tuple[str, int] | None = None

    def progress(self, event):
        self.events.append(event)
        if self.stop_after == (event.stage, event.done):
            self.flag.stopped = True

    def message(self, text, level="info"):
        self.messages.append((level, text))

    def count(self, stage):
        return sum(e.stage == stage for e in self.events)


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """(checkpoint, text encoder source) of matching tiny files."""
    root = tmp_path_factory.mktemp("tiny")
    return open_checkpoint(write_tiny_checkpoint(root / "tiny.safetensors")), open_text_encoder(write_tiny_gemma(root / "gemma.safetensors"))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_demo_clips(folder, count=4)
    return folder


@pytest.fixture
def clips(drawn, tmp_path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "clips"))


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def services():
    def make(recorder):
        return {"residency": PlainResidency(torch.device("cpu")), "reporter": recorder, "stop": recorder.flag}

    return make
