"""Numbers of a finished clip: how loud it is, how much moves, and how near it is to a reference. All of them optional."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import torch
from torch import Tensor, nn

from ..errors import LTX2Error
from ..media.audio import Waveform, decode_audio
from ..media.probe import probe
from ..media.video import decode_video

_SMALL = 256  # pixels of the longer side: motion is judged on what an eye follows, not on noise
_LOOKED_AT = 8  # frames of a clip that a picture model sees
_SHORTEST = 0.4  # seconds, one block of the loudness norm


def loudness(sound: Waveform | None) -> float | None:
    """Integrated loudness in LUFS (EBU R 128, by ffmpeg); None for no sound, silence, or less than 0.4 s."""
    if sound is None or sound.seconds < _SHORTEST or not sound.samples.abs().max() > 0:
        return None
    layout = "mono" if sound.samples.shape[0] == 1 else "stereo"
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=sound.rate, layout=layout, format="fltp", time_base=Fraction(1, sound.rate))
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(sound.samples.float().contiguous().numpy(), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = sound.rate, 0, Fraction(1, sound.rate)
    source.push(frame)
    source.push(None)
    value = None
    while True:
        try:
            value = sink.pull().metadata.get("lavfi.r128.I", value)
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    # -70 LUFS is the norm's gate: nothing above it was heard.
    return None if value is None or float(value) <= -70 else float(value)


def motion(frames: Tensor) -> float:
    """Mean change of brightness from frame to frame, 0..1; frames uint8 [F, H, W, 3]. 0 is a still picture."""
    if len(frames) < 2:
        return 0.0
    grey = frames.float() @ torch.tensor([0.2126, 0.7152, 0.0722])
    return (grey[1:] - grey[:-1]).abs().mean().item() / 255


@dataclass(frozen=True)
class PictureModel:
    """A CLIP or DINO from a folder of the machine; ``name`` is that folder."""

    name: str
    model: nn.Module
    processor: Callable
    device: torch.device

    @torch.no_grad()
    def embedding(self, frames: Tensor) -> Tensor:
        """[D], the mean of some frames' embeddings, of length 1; frames uint8 [F, H, W, 3]."""
        chosen = frames[torch.linspace(0, len(frames) - 1, min(_LOOKED_AT, len(frames))).round().long()]
        pixels = self.processor(images=[f.numpy() for f in chosen], return_tensors="pt")["pixel_values"].to(self.device)
        if hasattr(self.model, "get_image_features"):
            given = self.model.get_image_features(pixel_values=pixels)
        else:
            given = self.model(pixel_values=pixels)
        vectors = given if isinstance(given, Tensor) else given.pooler_output
        return nn.functional.normalize(nn.functional.normalize(vectors.float(), dim=-1).mean(0), dim=0).cpu()

    def similarity(self, frames: Tensor, reference: Tensor) -> float:
        """Cosine in -1..1 of two clips of uint8 [F, H, W, 3]."""
        return float(self.embedding(frames) @ self.embedding(reference))


def load_picture_model(folder: str | Path, device: torch.device | None = None) -> PictureModel:
    """A Hugging Face folder of CLIP, SigLIP or DINOv2; nothing is downloaded and only safetensors are read.

    Raises:
        LTX2Error: no such folder, or not a model of pictures.
    """
    from transformers import AutoImageProcessor, AutoModel

    folder = Path(folder).expanduser()
    if not (folder / "config.json").is_file():
        raise LTX2Error(f"{folder} holds no config.json; give the folder of a CLIP or DINOv2 model on this machine, or leave similarity off.")
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, ValueError) as error:
        raise LTX2Error(f"The model in {folder} cannot be used to compare pictures ({str(error).splitlines()[0]}); give a CLIP or DINOv2 folder.") from error
    device = device or torch.device("cpu")
    return PictureModel(str(folder.resolve()), model.eval().requires_grad_(False).to(device), processor, device)


def small_frames(path: Path) -> Tensor:
    """All frames uint8 [F, H, W, 3], the longer side at most 256."""
    info = probe(path)
    scale = min(1.0, _SMALL / max(info.width, info.height))
    size = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    return decode_video(path, frame_rate=info.frame_rate, num_frames=info.frames, size=size)


def measure(path: Path) -> dict[str, float | None]:
    """loudness_lufs and motion of a file."""
    return {"loudness_lufs": loudness(decode_audio(path, rate=48000)), "motion": motion(small_frames(path))}


_SHOWN = {"loudness_lufs": "{:.1f} LUFS", "motion": "motion {:.3f}", "similarity": "likeness {:.2f}"}


def in_words(scores: Mapping[str, float | None]) -> str:
    """For the grid: "-23.1 LUFS, motion 0.034, likeness 0.91"; what was not measured is left out."""
    return ", ".join(text.format(scores[name]) for name, text in _SHOWN.items() if scores.get(name) is not None)
