"""Runs inside the host's Python: the host's own LTX-2 model, with and without an adapter by LoraLoaderModelOnly.

    python native_forward.py JOB.json

The job names ``root`` (ComfyUI), ``checkpoint``, ``lora_folder``, ``lora`` (name, or null), ``strength``, ``inputs`` and
``outputs`` (safetensors). Inputs of a case: ``<case>.video`` [B,128,F,H,W], ``.audio`` [B,8,T,16], ``.sigma`` and
``.audio_sigma`` [B,1], ``.text`` [B,S,2*D]. Outputs: ``<case>.video`` and ``.audio``, the velocities.
"""

import json
import logging
import sys

job = json.load(open(sys.argv[1], encoding="utf-8"))
sys.path.insert(0, job["root"])
sys.argv[1:] = ["--cpu", "--force-fp32", "--disable-xformers"]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.sd  # noqa: E402
import folder_paths  # noqa: E402
import torch  # noqa: E402
from comfy import model_management  # noqa: E402
from nodes import LoraLoaderModelOnly  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

# Unloaded keys are only ever told to the log.
logging.basicConfig(stream=sys.stderr, level=logging.WARNING, force=True)


@torch.inference_mode()
def velocities(patcher, inputs: dict) -> dict:
    model_management.load_models_gpu([patcher], force_patch_weights=True)
    model = patcher.model.diffusion_model
    results = {}
    for case in sorted({k.split(".")[0] for k in inputs}):
        given = {k.split(".")[1]: v for k, v in inputs.items() if k.startswith(f"{case}.")}
        timesteps = given["sigma"], given["audio_sigma"]
        video, audio = model([given["video"], given["audio"]], timesteps, given["text"], frame_rate=job["frame_rate"])
        results |= {f"{case}.video": video.contiguous(), f"{case}.audio": audio.contiguous()}
    return results


loaded = comfy.sd.load_checkpoint_guess_config(job["checkpoint"], output_vae=False, output_clip=False)[0]
if job["lora"]:
    folder_paths.add_model_folder_path("loras", job["lora_folder"], is_default=True)
    loaded = LoraLoaderModelOnly().load_lora_model_only(loaded, job["lora"], job["strength"])[0]
save_file(velocities(loaded, load_file(job["inputs"])), job["outputs"])
