"""A job of ``native_worker``: whole sampling runs with the host's own nodes, from given noise.

It names ``folder`` (checkpoint, adapter and files), ``checkpoint``, ``lora`` (name, or null),
``strength``, ``frame_rate``, ``steps``, ``cfg``, ``inputs`` and ``outputs`` (safetensors). Inputs: ``noise.video``,
``noise.audio``, ``positive``, ``negative`` [1,S,2*D], ``first_frame`` [1,128,1,H',W'] (the picture, encoded). Outputs: ``sigmas``,
and ``<run>.video``, ``<run>.audio`` of the runs t2v and i2v.
"""

import folder_paths
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_custom_sampler import CFGGuider, KSamplerSelect, SamplerCustomAdvanced
from comfy_extras.nodes_lt import (
    EmptyLTXVLatentVideo, LTXVConcatAVLatent, LTXVConditioning, LTXVImgToVideoInplace, LTXVScheduler, LTXVSeparateAVLatent,
)  # fmt: skip
from nodes import LoraLoaderModelOnly, UNETLoader
from safetensors.torch import load_file, save_file


class Noise:
    """What RandomNoise gives, with known numbers."""

    seed = 0

    def __init__(self, given: dict):
        self._given = given

    def generate_noise(self, latent):
        return NestedTensor((self._given["noise.video"], self._given["noise.audio"]))


class Encoded:
    """In the place of the VAE, whose decoder this host only builds at the full size: the picture's latents as they are given."""

    downscale_index_formula = (8, 32, 32)

    def __init__(self, given: dict):
        self._given = given

    def encode(self, pixels):
        return self._given["first_frame"]


def out(node, **inputs):
    return node.execute(**inputs).result


def run(job: dict, given: dict, model, video: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    (sigmas,) = out(LTXVScheduler, steps=job["steps"], max_shift=2.05, base_shift=0.95, stretch=True, terminal=0.1, latent=video)
    positive, negative = out(LTXVConditioning, positive=[[given["positive"], {}]], negative=[[given["negative"], {}]], frame_rate=job["frame_rate"])
    (guider,) = out(CFGGuider, model=model, positive=positive, negative=negative, cfg=job["cfg"])
    (sampler,) = out(KSamplerSelect, sampler_name="euler")
    sound = {"samples": torch.zeros_like(given["noise.audio"]), "type": "audio"}
    (latent,) = out(LTXVConcatAVLatent, video_latent=video, audio_latent=sound)
    made = out(SamplerCustomAdvanced, noise=Noise(given), guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent)[0]
    parts = out(LTXVSeparateAVLatent, av_latent=made)
    return parts[0]["samples"].contiguous(), parts[1]["samples"].contiguous(), sigmas


@torch.inference_mode()
def carry_out(job: dict) -> None:
    for kind in ("diffusion_models", "loras"):
        folder_paths.add_model_folder_path(kind, job["folder"], is_default=True)
    given, results = load_file(job["inputs"]), {}
    (model,) = UNETLoader().load_unet(job["checkpoint"], "default")
    if job["lora"]:
        model = LoraLoaderModelOnly().load_lora_model_only(model, job["lora"], job["strength"])[0]
    _, _, frames, height, width = given["noise.video"].shape
    size = {"width": width * 32, "height": height * 32, "length": (frames - 1) * 8 + 1, "batch_size": 1}
    (empty,) = out(EmptyLTXVLatentVideo, **size)
    results["t2v.video"], results["t2v.audio"], results["sigmas"] = run(job, given, model, empty)
    image = torch.zeros(1, height * 32, width * 32, 3)
    (begun,) = out(LTXVImgToVideoInplace, vae=Encoded(given), image=image, latent=out(EmptyLTXVLatentVideo, **size)[0], strength=1.0)
    results["i2v.video"], results["i2v.audio"], _ = run(job, given, model, begun)
    save_file({k: v.float().contiguous() for k, v in results.items()}, job["outputs"])
