"""What every run imports in the end; imported by the server that ``forked`` forks from, and by nobody else."""

import os

import lycoris.modules.loha  # noqa: F401
import peft  # noqa: F401
import torch.distributed.fsdp  # noqa: F401
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel  # noqa: F401
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder  # noqa: F401
from transformers import Gemma3TextModel  # noqa: F401

import ltx2core.distributed.fsdp  # noqa: F401
import ltx2core.distributed.member  # noqa: F401
import ltx2core.runfile  # noqa: F401

THREADS = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
