"""A tiny random checkpoint's components, one of each a session."""

import pytest
import torch

from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.models import build
from ltx2core.tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def tiny_component(tmp_path_factory):
    """tiny_component(name) -> the module, float32."""
    checkpoint = open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.safetensors"))
    loaded = {}

    def load(name):
        if name not in loaded:
            loaded[name] = build.load_component(checkpoint, name, "cpu", torch.float32)
        return loaded[name]

    return load
