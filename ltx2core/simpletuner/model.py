"""Which files a SimpleTuner configuration trains on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import LTX2Error
from .options import Options

FLAVOURS = {
    "": "ltx-2-19b-dev.safetensors", "dev": "ltx-2-19b-dev.safetensors", "2.0": "ltx-2-19b-dev.safetensors",
    "dev-fp8": "ltx-2-19b-dev-fp8.safetensors", "dev-fp4": "ltx-2-19b-dev-fp4.safetensors",
}  # fmt: skip
HUB = "Lightricks/LTX-2"
TEXT_ENCODER = "gemma_3_12B_it.safetensors"
MODEL_KEYS = (
    "model_family", "model_type", "model_flavour", "pretrained_model_name_or_path", "pretrained_transformer_model_name_or_path",
    "pretrained_transformer_subfolder", "pretrained_vae_model_name_or_path", "pretrained_gemma_model_name_or_path", "pretrained_audio_vae_model_name_or_path",
    "ltx2_checkpoint_filename", "ltx2_combined_filename", "revision", "variant",
)  # fmt: skip


@dataclass(frozen=True)
class Given:
    """Files that a person names beside the configuration; empty ones are taken from it."""

    checkpoint: str = ""
    text_encoder: str = ""


def read_model(options: Options, run: dict, given: Given) -> None:
    """``run["checkpoint"]`` and ``run["text_encoder"]``.

    Raises:
        LTX2Error: not a LoRA, or another model.
    """
    family, kind = options.text("model_family", "ltxvideo2"), options.text("model_type", "lora")
    if family != "ltxvideo2":
        raise LTX2Error(f"{options.source} trains {family}; this pack trains LTX-2 (model_family ltxvideo2).")
    if kind != "lora":
        raise LTX2Error(f"{options.source} has model_type {kind!r}; this pack trains adapters, set it to lora.")
    flavour = options.text("model_flavour").lower()
    if flavour not in FLAVOURS:
        raise LTX2Error(f"{options.source} has model_flavour {flavour!r}; this pack knows {', '.join(filter(None, FLAVOURS))} of LTX-2 19B.")
    named = next((v for k in ("ltx2_checkpoint_filename", "ltx2_combined_filename") if (v := options.text(k))), FLAVOURS[flavour])
    local = next((v for k in ("pretrained_transformer_model_name_or_path", "pretrained_model_name_or_path") if (v := options.text(k)).endswith((".safetensors", ".sft")) and ":" not in v[2:]), "")
    gemma = options.text("pretrained_gemma_model_name_or_path")
    run["checkpoint"] = given.checkpoint or local or named
    run["text_encoder"] = given.text_encoder or (gemma if Path(gemma).expanduser().exists() and gemma else TEXT_ENCODER)
    options.honoured("model_family", "checkpoint")
    options.honoured("model_type", "lora")
    for key in MODEL_KEYS[2:4] + MODEL_KEYS[9:11]:
        options.mapped(key, "checkpoint", f"the combined file {Path(run['checkpoint']).name}; nothing is downloaded, put it beside the run file or name it with --checkpoint")
    options.mapped("pretrained_transformer_model_name_or_path", "checkpoint", f"the combined file {Path(run['checkpoint']).name}")
    options.mapped("pretrained_gemma_model_name_or_path", "text_encoder", f"{Path(run['text_encoder']).name}; nothing is downloaded, name it with --text-encoder")
    for key in ("pretrained_transformer_subfolder", "pretrained_vae_model_name_or_path", "pretrained_audio_vae_model_name_or_path", "revision", "variant"):
        options.idle(key, "all parts lie in the combined file")
