"""Where SimpleTuner's options put the weights, and how they encode."""

from __future__ import annotations

from ..memory.names import BLOCKS, PRECISION_NAMES, PeerOptions
from .options import Options, as_flag, as_number, as_text, as_whole

_KINDS = {
    "musubi_blocks_to_swap": as_whole, "musubi_block_swap_device": as_text, "enable_group_offload": as_flag, "group_offload_type": as_text,
    "group_offload_blocks_per_group": as_whole, "group_offload_use_stream": as_flag, "ramtorch": as_flag, "ramtorch_transformer_percent": as_number,
    "base_model_precision": as_text,
}  # fmt: skip
_BELONGS = {
    "group_offload_type": "enable_group_offload", "group_offload_blocks_per_group": "enable_group_offload",
    "group_offload_use_stream": "enable_group_offload", "ramtorch_transformer_percent": "ramtorch", "musubi_block_swap_device": "musubi_blocks_to_swap",
}  # fmt: skip
_TILE = {"size": 512, "overlap": 64}


def _values(options: Options) -> dict[str, object]:
    values = {key: options.read(key, kind) for key, kind in _KINDS.items()}
    values = {key: value for key, value in values.items() if value is not None}
    # SimpleTuner allows at most all blocks but one.
    if values.get("musubi_blocks_to_swap", 0) > BLOCKS:
        values["musubi_blocks_to_swap"] = BLOCKS
    return {key: value for key, value in values.items() if key not in _BELONGS or values.get(_BELONGS[key])}


def read_memory_options(options: Options, run: dict) -> None:
    """``run["memory"]`` under SimpleTuner's names, which the run file knows; left out when no option asks for anything."""
    values = _values(options)
    precision = str(values.get("base_model_precision", "no_change"))
    if precision not in PRECISION_NAMES:
        values["base_model_precision"] = "fp8-torchao" if precision.startswith("fp8") else "int8-torchao"
        options.mapped("base_model_precision", "memory.base_model_precision", f"{values['base_model_precision']} is the nearest form here: at least as exact, and larger where 4 bits were asked for")
    if values:
        PeerOptions(**values)
        run["memory"] = values
    for key in _KINDS:
        if key in values:
            options.honoured(key, f"memory.{key}")
        options.idle(key, f"{_BELONGS[key]} is off" if key in _BELONGS else "it is empty")
    never_both = "the text encoder is on the device only while captions are encoded, never beside the transformer or the VAE"
    for key in ("ramtorch_text_encoder", "group_offload_text_encoder"):
        options.mapped(key, "", f"{never_both}; where the device has no room for it, its layers wait in host memory")
    options.mapped("offload_during_startup", "", never_both)


def read_vae_options(options: Options, run: dict) -> None:
    """``run["vae"]``, beside the rows that are one value."""
    if options.flag("vae_enable_tiling"):
        run.setdefault("vae", {})["tiling"] = dict(_TILE)
    options.honoured("vae_enable_tiling", "vae.tiling", f"tiles of {_TILE['size']} pixels, {_TILE['overlap']} of them shared")
    options.mapped("vae_dtype", "", "bf16 on a card, float32 on a processor, where bf16 is slower")
