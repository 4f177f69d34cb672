"""What a person asks of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..errors import LTX2Error
from ..strict import from_dict

CAPTION_STRATEGIES = ("textfile", "filename", "instanceprompt")
BUCKET_STRATEGIES = ("fixed", "aspect_ratio")


@dataclass(frozen=True)
class DatasetSpec:
    """One folder of clips.

    Attributes:
        folder: where the clips lie.
        width, height: pixels. With ``bucket_strategy`` ``fixed`` every clip is cropped to them; with ``aspect_ratio``
            their area is kept and each clip gets the sides that fit its own proportions.
        frames: of each clip, snapped down to 8k+1; a shorter clip is taken with as many frames as it has.
        min_frames: a clip with fewer frames at the training rate is dropped.
        frame_rate: frames a second that training sees; clips of other rates are resampled in time.
        caption_strategy: ``textfile`` (clip.txt beside clip.mp4, the whole file), ``filename``, ``instanceprompt``.
        instance_prompt: the caption of ``instanceprompt``.
        trigger: put in front of every caption.
        repeats: extra passes over the folder in an epoch; 0 is once.
        audio: whether sound is trained where a clip has it.
        recursive: whether folders inside are searched.
    """

    folder: str
    width: int = 768
    height: int = 512
    frames: int = 49
    min_frames: int = 9
    frame_rate: float = 25.0
    bucket_strategy: str = "aspect_ratio"
    caption_strategy: str = "textfile"
    instance_prompt: str = ""
    trigger: str = ""
    repeats: int = 0
    audio: bool = True
    recursive: bool = False

    def __post_init__(self) -> None:
        if self.caption_strategy not in CAPTION_STRATEGIES:
            raise LTX2Error(f"caption_strategy is {self.caption_strategy!r}; choose one of {', '.join(CAPTION_STRATEGIES)}.")
        if self.bucket_strategy not in BUCKET_STRATEGIES:
            raise LTX2Error(f"bucket_strategy is {self.bucket_strategy!r}; choose one of {', '.join(BUCKET_STRATEGIES)}.")
        if self.caption_strategy == "instanceprompt" and not self.instance_prompt.strip():
            raise LTX2Error("caption_strategy instanceprompt needs an instance_prompt; write the caption for all clips there.")
        if self.frame_rate <= 0:
            raise LTX2Error(f"frame_rate is {self.frame_rate:g}; give frames a second above 0, 25 is what LTX-2 expects.")
        if self.repeats < 0:
            raise LTX2Error(f"repeats is {self.repeats}; give 0 (once an epoch) or more.")

    @classmethod
    def from_dict(cls, raw: Mapping[str, object]) -> DatasetSpec:
        """Raises LTX2Error for unknown or wrong keys."""
        return from_dict(cls, raw, "dataset")

    def to_dict(self) -> dict:
        return asdict(self)
