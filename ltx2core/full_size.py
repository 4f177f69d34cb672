"""Random weights in the real sizes of LTX-2 19B and Gemma3 12B, in the real files' layout, written tensor by tensor.

For measuring what only full size shows: loading, memory, seconds. Nothing that is made with them means anything.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .errors import LTX2Error
from .tiny import TinySize, combined_shapes, tiny_config
from .tiny_gemma import gemma_shapes, is_quantised, tokenizer_model

GIB = 2**30
_CHUNK = 2**26  # values that are drawn at once
# Widths and counts of the published files (19B: 18.876 B values in the transformer, 21.639 B in all).
LTX2_19B = TinySize(
    layers=48, heads=32, head_dim=128, audio_head_dim=64, caption_channels=3840, hidden_states=49, registers=128, vocoder_channels=1024,
    connector_layers=2, connector_heads=30,
)  # fmt: skip
_VAE_19B = {
    "encoder_blocks": [
        ["res_x", {"num_layers": 4}], ["compress_space_res", {"multiplier": 2}], ["res_x", {"num_layers": 6}], ["compress_time_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 6}], ["compress_all_res", {"multiplier": 2}], ["res_x", {"num_layers": 2}], ["compress_all_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}],
    ],
    "decoder_blocks": [
        *([["res_x", {"num_layers": 5}], ["compress_all", {"residual": True, "multiplier": 2}]] * 3), ["res_x", {"num_layers": 5}],
    ],
    "decoder_base_channels": 128,
}  # fmt: skip
GEMMA3_12B = {"hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256}
_GEMMA_VOCABULARY = 262208
_FP8_DEVIATION = 48.0  # nine deviations are in reach of E4M3, beyond which a cast gives NaN
_BYTES = {torch.bfloat16: ("BF16", 2), torch.float8_e4m3fn: ("F8_E4M3", 1), torch.float32: ("F32", 4), torch.uint8: ("U8", 1)}


def full_config() -> dict:
    """The header's ``config`` of the 19B file."""
    config = tiny_config(LTX2_19B)
    config["vae"] |= _VAE_19B
    config["audio_vae"]["model"]["params"]["ddconfig"] |= {"ch": 128, "ch_mult": [1, 2, 4], "num_res_blocks": 2}
    return config


@dataclass(frozen=True)
class Entry:
    """One tensor to write. ``draw``: its values, made when it is written; random ones of its shape when None."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    draw: Callable[[], Tensor] | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * _BYTES[self.dtype][1]


@dataclass(frozen=True)
class FilePlan:
    path: Path
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]

    @property
    def nbytes(self) -> int:
        return sum(e.nbytes for e in self.entries.values())


def plan_checkpoint(path: Path, config: dict, size: TinySize) -> FilePlan:
    """The combined file, bf16."""
    shapes = combined_shapes(config, size)
    return FilePlan(path, {k: Entry(tuple(s), torch.bfloat16) for k, s in shapes.items()}, {"config": json.dumps(config)})


def plan_gemma(path: Path, sizes: Mapping[str, int], vocabulary: int, fp8: bool) -> FilePlan:
    """The text encoder as ComfyUI's single file; with ``fp8`` its linears in E4M3 with a scale each, as published."""
    tokenizer, entries = torch.frombuffer(bytearray(tokenizer_model()), dtype=torch.uint8), {}
    for name, shape in gemma_shapes(vocabulary, **sizes).items():
        key = "model." + name
        if fp8 and is_quantised(name):
            layer = key.removesuffix(".weight")
            entries[key] = Entry(tuple(shape), torch.float8_e4m3fn)
            entries[f"{layer}.weight_scale"] = Entry((), torch.float32, lambda n=shape[-1]: torch.tensor(n**-0.5 / _FP8_DEVIATION))
            marker = json.dumps({"format": "float8_e4m3fn"}).encode()
            entries[f"{layer}.comfy_quant"] = Entry((len(marker),), torch.uint8, lambda m=marker: torch.frombuffer(bytearray(m), dtype=torch.uint8))
        else:
            entries[key] = Entry(tuple(shape), torch.bfloat16)
    entries["spiece_model"] = Entry(tuple(tokenizer.shape), torch.uint8, lambda: tokenizer)
    return FilePlan(path, entries, {})


def _scale(key: str, entry: Entry) -> tuple[float, float]:
    """(mean, deviation) that keep a deep net's activations near one: norms at one, statistics neutral."""
    if key.endswith("std-of-means") or (key.endswith("norm.weight") and len(entry.shape) == 1):
        # Gemma's norms multiply by one plus their weight.
        return (0.0 if key.startswith("model.layers") or key == "model.norm.weight" else 1.0), 0.0
    if key.endswith("mean-of-means"):
        return 0.0, 0.0
    if entry.dtype == torch.float8_e4m3fn:
        return 0.0, _FP8_DEVIATION
    if len(entry.shape) < 2 or "table" in key:
        return 0.0, 0.02
    return 0.0, math.prod(entry.shape[1:]) ** -0.5


def _drawn(key: str, entry: Entry, generator: torch.Generator) -> Iterator[Tensor]:
    if entry.draw is not None:
        yield entry.draw()
        return
    mean, deviation = _scale(key, entry)
    left = math.prod(entry.shape)
    while left > 0:
        count = min(left, _CHUNK)
        values = torch.empty(count, dtype=torch.bfloat16, device=generator.device).normal_(mean, deviation, generator=generator)
        yield values.to(entry.dtype).cpu()
        left -= count


def write_random(plan: FilePlan, device: torch.device, seed: int = 0) -> Path:
    """The file of ``plan``, drawn on ``device``; at no time more than a few hundred MiB of it are in memory."""
    generator, header, offset = torch.Generator(device).manual_seed(seed), {"__metadata__": dict(plan.metadata)}, 0
    for key, entry in plan.entries.items():
        header[key] = {"dtype": _BYTES[entry.dtype][0], "shape": list(entry.shape), "data_offsets": [offset, offset + entry.nbytes]}
        offset += entry.nbytes
    blob = json.dumps(header).encode()
    blob += b" " * (-len(blob) % 8)
    plan.path.parent.mkdir(parents=True, exist_ok=True)
    with plan.path.open("wb") as file:
        file.write(len(blob).to_bytes(8, "little") + blob)
        for key, entry in plan.entries.items():
            for part in _drawn(key, entry, generator):
                file.write(memoryview(part.contiguous().reshape(-1).view(torch.uint8).numpy()))
    return plan.path


def full_plans(folder: Path, gemma_fp8: bool) -> tuple[FilePlan, FilePlan]:
    """(combined checkpoint, text encoder) at full size."""
    name = f"random-gemma3-12b{'-fp8' if gemma_fp8 else ''}.safetensors"
    return plan_checkpoint(folder / "random-ltx-2-19b-dev.safetensors", full_config(), LTX2_19B), plan_gemma(folder / name, GEMMA3_12B, _GEMMA_VOCABULARY, gemma_fp8)


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def told(plans: tuple[FilePlan, FilePlan]) -> str:
    """What will be written and what using it takes, in lines; said before a byte is written."""
    checkpoint, gemma = plans
    free = shutil.disk_usage(_existing(checkpoint.path.parent)).free
    values = sum(math.prod(e.shape) for k, e in checkpoint.entries.items())
    blocks = sum(e.nbytes for k, e in checkpoint.entries.items() if ".transformer_blocks." in k)
    in_use = sum(2 * math.prod(e.shape) for e in gemma.entries.values())
    lines = [
        f"on disk    {checkpoint.nbytes / GIB:6.1f} GiB  {checkpoint.path} ({values / 1e9:.2f} B values)",
        f"           {gemma.nbytes / GIB:6.1f} GiB  {gemma.path}",
        f"           {(checkpoint.nbytes + gemma.nbytes) / GIB:6.1f} GiB  in all, of {free / GIB:.1f} GiB free",
        "in memory     0.4 GiB  while writing",
        f"           {in_use / GIB:6.1f} GiB  text encoder while captions are cached (bf16, whatever its file holds)",
        f"           {blocks / GIB:6.1f} GiB  the transformer's blocks in bf16; {blocks / 2 / GIB:.1f} GiB in 8 bits, formed block by block from the file",
    ]
    return "\n".join(lines)


def write_full(folder: Path, gemma_fp8: bool, device: torch.device) -> tuple[Path, Path]:
    """Both files, after their plan was printed.

    Raises:
        LTX2Error: the disk has not that much room; nothing is written then.
    """
    plans = full_plans(folder, gemma_fp8)
    print(told(plans), flush=True)
    need, free = sum(p.nbytes for p in plans) + GIB, shutil.disk_usage(_existing(folder)).free
    if need > free:
        raise LTX2Error(
            f"{need / GIB:.1f} GiB are needed in {folder} and {free / GIB:.1f} are free; choose a folder on a larger disk or in memory (/dev/shm), or Gemma in fp8."
        )
    checkpoint, gemma = (write_random(plan, device) for plan in plans)
    return checkpoint, gemma
