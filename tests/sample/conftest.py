"""One tiny checkpoint, its prompts and plain services for the tests of this folder."""

import pytest
import torch

from ltx2core.checkpoint.adapter import Adapter
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.models.handle import Models
from ltx2core.protocols import Progress
from ltx2core.sample.settings import SampleSettings
from ltx2core.standalone import PlainResidency, StopFlag
from ltx2core.text.features import TextFeatures
from ltx2core.tiny import write_tiny_checkpoint


class Notebook:
    """A reporter that keeps everything."""

    def __init__(self):
        self.said, self.events = [], []

    def message(self, text: str, level: str = "info") -> None:
        self.said.append(text)

    def progress(self, event: Progress) -> None:
        self.events.append(event)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    return Models(open_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.safetensors")), torch.float32)


@pytest.fixture(scope="session")
def new_services():
    return lambda: {"residency": PlainResidency(torch.device("cpu")), "reporter": Notebook(), "stop": StopFlag()}


@pytest.fixture
def services(new_services):
    return new_services()


@pytest.fixture(scope="session")
def features():
    """features(seed) -> random TextFeatures."""

    def make(seed: int) -> TextFeatures:
        draw = torch.Generator().manual_seed(seed)
        return TextFeatures(torch.randn(1, 16, 64, generator=draw), torch.randn(1, 16, 64, generator=draw))

    return make


@pytest.fixture(scope="session")
def make_adapter(tiny_models):
    """make_adapter(name, seed) -> a random adapter that changes the picture."""

    def make(name: str = "a", seed: int = 0, layers=("transformer_blocks.0.attn1.to_q", "transformer_blocks.1.audio_to_video_attn.to_out.0")) -> Adapter:
        draw, pairs = torch.Generator().manual_seed(seed), {}
        for layer in layers:
            linear = tiny_models.component("transformer").get_submodule(layer)
            pairs[layer] = (0.3 * torch.randn(4, linear.in_features, generator=draw), 0.3 * torch.randn(linear.out_features, 4, generator=draw))
        return Adapter(name, pairs, "2.0")

    return make


@pytest.fixture(scope="session")
def settings():
    return SampleSettings(96, 64, 9, 25.0, steps=2, video_cfg=3.0)


@pytest.fixture(scope="session")
def picture_models(tmp_path_factory):
    """A random CLIP and a random DINOv2, saved as the hub's folders are."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    root = tmp_path_factory.mktemp("models")
    vision = {**small, "image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config={**small, "vocab_size": 10}, vision_config=vision, projection_dim=16)).save_pretrained(root / "clip")
    Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)).save_pretrained(root / "dino")
    for name, size in (("clip", 32), ("dino", 28)):
        CLIPImageProcessor(size={"shortest_edge": size}, crop_size=size).save_pretrained(root / name)
    return root
