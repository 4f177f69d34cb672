"""A job of ``native_worker``: the host's own LTX-2 model, with and without an adapter by LoraLoaderModelOnly.

It names ``checkpoint``, ``lora_folder``, ``lora`` (name, or null), ``strength``, ``inputs`` and
``outputs`` (safetensors). Inputs of a case: ``<case>.video`` [B,128,F,H,W], ``.audio`` [B,8,T,16], ``.sigma`` and
``.audio_sigma`` [B,1], ``.text`` [B,S,2*D]. Outputs: ``<case>.video`` and ``.audio``, the velocities.
"""

import comfy.sd
import folder_paths
import torch
from comfy import model_management
from nodes import LoraLoaderModelOnly
from safetensors.torch import load_file, save_file


@torch.inference_mode()
def velocities(patcher, inputs: dict, frame_rate: float) -> dict:
    model_management.load_models_gpu([patcher], force_patch_weights=True)
    model = patcher.model.diffusion_model
    results = {}
    for case in sorted({k.split(".")[0] for k in inputs}):
        given = {k.split(".")[1]: v for k, v in inputs.items() if k.startswith(f"{case}.")}
        timesteps = given["sigma"], given["audio_sigma"]
        video, audio = model([given["video"], given["audio"]], timesteps, given["text"], frame_rate=frame_rate)
        results |= {f"{case}.video": video.contiguous(), f"{case}.audio": audio.contiguous()}
    return results


def carry_out(job: dict) -> None:
    loaded = comfy.sd.load_checkpoint_guess_config(job["checkpoint"], output_vae=False, output_clip=False)[0]
    if job["lora"]:
        folder_paths.add_model_folder_path("loras", job["lora_folder"], is_default=True)
        loaded = LoraLoaderModelOnly().load_lora_model_only(loaded, job["lora"], job["strength"])[0]
    save_file(velocities(loaded, load_file(job["inputs"]), job["frame_rate"]), job["outputs"])
