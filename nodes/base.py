"""What every node file needs: the category, the wire types, and the frame around a call of the core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from comfy_api.latest import io

from ..ltx2core.memory.exhausted import exhaustion_told
from ..ltx2core.protocols import Interrupted

if TYPE_CHECKING:
    from .host.context import Host

CATEGORY = "LTX-2"

# For extra_dict of a widget that waits behind "Show advanced"; older hosts know no such argument.
ADVANCED = {"advanced": True}

CheckpointWire = io.Custom("LTX2_CHECKPOINT")
TextEncoderWire = io.Custom("LTX2_TEXT_ENCODER")
ConditioningWire = io.Custom("LTX2_CONDITIONING")
DatasetWire = io.Custom("LTX2_DATASET")
DatasetOptionsWire = io.Custom("LTX2_DATASET_OPTIONS")
CacheWire = io.Custom("LTX2_CACHE")
AdapterWire = io.Custom("LTX2_ADAPTER")
LoRASettingsWire = io.Custom("LTX2_LORA_SETTINGS")
TrainSettingsWire = io.Custom("LTX2_TRAIN_SETTINGS")
MemoryWire = io.Custom("LTX2_MEMORY_SETTINGS")
PreviewsWire = io.Custom("LTX2_PREVIEWS")
LatentsWire = io.Custom("LTX2_LATENTS")
SampleSettingsWire = io.Custom("LTX2_SAMPLE_SETTINGS")
KeyframesWire = io.Custom("LTX2_KEYFRAMES")
PromptsWire = io.Custom("LTX2_PROMPTS")
ColumnsWire = io.Custom("LTX2_COLUMNS")
UpscalerWire = io.Custom("LTX2_UPSCALER")


@contextmanager
def running() -> Iterator[Host]:
    """The host's services. Leaves inference mode, under which the host runs nodes, turns a stop into the host's own, and says what a full device means."""
    from .host.context import host

    services = host()
    try:
        with torch.inference_mode(False), exhaustion_told(services.residency.device, services.residency.free_all):
            yield services
    except Interrupted:
        services.stop.reraise()
        raise
