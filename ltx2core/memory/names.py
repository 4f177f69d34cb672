"""The memory options of other trainers, by the names that a person knows, as our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ..errors import LTX2Error
from ..strict import from_dict
from .engine import MemorySettings

# Of LTX-2. Streaming more than a model has streams all of them.
BLOCKS = 48
PRECISION_NAMES = {
    "no_change": "bf16", "int8-torchao": "int8-torchao", "int8-quanto": "int8-quanto", "fp8-torchao": "fp8-torchao", "fp8wo-torchao": "fp8-torchao", "fp8-quanto": "fp8",
}  # fmt: skip
_TEXT_ENCODER = "ramtorch_text_encoder"
GROUP_OFFLOAD_TYPES = ("block_level", "leaf_level")


@dataclass(frozen=True)
class PeerOptions:
    """Options of SimpleTuner and musubi-tuner.

    musubi_blocks_to_swap: blocks that lie in host memory. enable_group_offload, ramtorch: all do. group_offload_type:
    either way whole blocks are streamed; leaf_level, the saving one, with the fewest buffers.
    group_offload_blocks_per_group: copied ahead. group_offload_use_stream: copies always overlap here.
    ramtorch_transformer_percent: of the blocks. base_model_precision: of the frozen weights; int8-quanto is the pack's own
    int8, the same form, where optimum-quanto is not installed.
    """

    musubi_blocks_to_swap: int = 0
    musubi_block_swap_device: str = "cpu"
    enable_group_offload: bool = False
    group_offload_type: str = "block_level"
    group_offload_blocks_per_group: int = 1
    group_offload_use_stream: bool = True
    ramtorch: bool = False
    ramtorch_transformer_percent: float = 100.0
    base_model_precision: str = "no_change"

    def __post_init__(self) -> None:
        if not 0 <= self.musubi_blocks_to_swap <= BLOCKS:
            raise LTX2Error(f"musubi_blocks_to_swap is {self.musubi_blocks_to_swap}; give a number of blocks from 0 to {BLOCKS}.")
        if self.musubi_block_swap_device != "cpu":
            raise LTX2Error(f"musubi_block_swap_device is {self.musubi_block_swap_device!r}; blocks wait in host memory only, set it to cpu.")
        if self.group_offload_type not in GROUP_OFFLOAD_TYPES:
            raise LTX2Error(f"group_offload_type is {self.group_offload_type!r}; choose one of {', '.join(GROUP_OFFLOAD_TYPES)}.")
        if self.group_offload_blocks_per_group < 1 or not 0 <= self.ramtorch_transformer_percent <= 100:
            raise LTX2Error("group_offload_blocks_per_group must be at least 1 and ramtorch_transformer_percent from 0 to 100; correct them.")
        if self.base_model_precision not in PRECISION_NAMES:
            raise LTX2Error(f"base_model_precision is {self.base_model_precision!r}; choose one of {', '.join(PRECISION_NAMES)}.")
        if sum((self.musubi_blocks_to_swap > 0, self.enable_group_offload, self.ramtorch)) > 1:
            raise LTX2Error("musubi_blocks_to_swap, enable_group_offload and ramtorch all say where the blocks lie; keep one of them.")

    @property
    def settings(self) -> MemorySettings:
        streamed, slots = self.musubi_blocks_to_swap, 3
        if self.enable_group_offload:
            streamed = BLOCKS
            slots = 2 if self.group_offload_type == "leaf_level" else max(2, 2 * self.group_offload_blocks_per_group)
        if self.ramtorch:
            streamed, slots = round(BLOCKS * self.ramtorch_transformer_percent / 100), 2
        precision = PRECISION_NAMES[self.base_model_precision]
        if precision == "int8-quanto" and find_spec("optimum.quanto" if find_spec("optimum") else "optimum") is None:
            precision = "int8"
        return MemorySettings(precision, streamed, slots)


def streams_text_encoder(raw: Mapping[str, Any]) -> bool | None:
    """ramtorch_text_encoder: its layers wait in host memory while captions are encoded. None where it is not said.

    Raises:
        LTX2Error: neither true nor false.
    """
    value = raw.get(_TEXT_ENCODER)
    if value not in (None, True, False):
        raise LTX2Error(f"{_TEXT_ENCODER} is {value!r}; give true or false.")
    return value


def read_memory(raw: Mapping[str, Any], what: str = "memory") -> MemorySettings:
    """Settings under our own names, or under those of :class:`PeerOptions`.

    Raises:
        LTX2Error: an unknown name, a bad value, or both kinds of names at once.
    """
    peers = set(PeerOptions.__dataclass_fields__)
    streams_text_encoder(raw)
    raw = {name: value for name, value in raw.items() if name != _TEXT_ENCODER}
    if not peers.intersection(raw):
        return from_dict(MemorySettings, raw, what)
    ours = set(raw) - peers
    if ours.intersection(MemorySettings.__dataclass_fields__):
        raise LTX2Error(f"{what} mixes {sorted(ours)[0]} with options of another trainer; keep one kind of names.")
    return from_dict(PeerOptions, raw, what).settings
