"""Adapters: load one, apply several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfy_api.latest import io

from ..ltx2core.checkpoint.adapter import Adapter, load_adapter
from ..ltx2core.checkpoint.adapter_info import describe_adapter, inspect_adapter
from ..ltx2core.checkpoint.adapter_tools import check_strength
from ..ltx2core.errors import LTX2Error
from ..ltx2core.hub import find_file
from ..ltx2core.sample.published import PUBLISHED, preset_of, published, recognised
from ..ltx2core.sample.settings import SampleSettings
from .base import CATEGORY, AdapterWire, CheckpointWire, SampleSettingsWire, running
from .folders import file_state
from .host import names

_SLOTS = 4
_NONE = "(none)"
# Names that libraries give to every LoRA: a file that is called so may be any repository's.
_ANYBODYS = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors", "model.safetensors", "lora.safetensors")


@dataclass(frozen=True)
class WeightedAdapter:
    """What the wire LTX2_ADAPTER carries."""

    adapter: Adapter
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.adapter.name, self.strength)


def _in_models(hub_name: str) -> str | None:
    """A name of the list of LoRAs that is the file of ``repo_id:file``, in whatever folder it lies.

    A file of a name that any repository may use must lie in a folder called as the repository is.
    """
    repo, _, file = hub_name.lower().rpartition(":")
    for name in names.loras():
        folder, _, own = name.replace("\\", "/").lower().rpartition("/")
        if own == file and (file not in _ANYBODYS or repo.rpartition("/")[2] in folder.split("/")):
            return name
    return None


def _find(host, adapter: str, hub_file: str, allow_download: bool, ready: str) -> Path:
    """Of the ready list, else the hub_file, else the list of models/loras; each looked for on this machine first."""
    name = published(ready).hub_name if ready != _NONE else hub_file.strip()
    if not name:
        if adapter == _NONE:
            raise LTX2Error("No adapter is chosen; choose one of models/loras or of the ready list, or give hub_file.")
        return host.paths.lora(adapter)
    mine = name if name in names.loras() else _in_models(name)
    if mine is not None:
        return host.paths.lora(mine)
    return find_file(name, allow_download=allow_download, reporter=host.reporter, stop=host.stop)


def _about(path: Path) -> str:
    """What the file says, and what a published adapter is to be used with."""
    lines, known = [describe_adapter(inspect_adapter(path))], recognised(path.stem)
    if known and known.reference:
        lines.append(f"reference video: {known.reference}")
    if known and known.prompt:
        lines.append(f"prompt: {known.prompt}")
    if known and known.preset.values:
        lines.append(f"sampling: {known.preset}")
    return "\n".join(lines)


class LTX2LoadAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LTX2LoadAdapter",
            display_name="Load LTX-2 Adapter",
            category=f"{CATEGORY}/adapters",
            description="Opens a LoRA for LTX-2, from models/loras, from the ready list of published ones, or from the Hugging Face hub.",
            inputs=[
                io.Combo.Input("adapter", options=[_NONE, *names.loras()], default=_NONE, tooltip="A LoRA in models/loras, in ComfyUI's, diffusers' or kohya's naming. Choose (none) to use hub_file."),
                io.Float.Input("strength", default=1.0, min=-10.0, max=10.0, step=0.05, tooltip="How strongly the adapter acts. 1 is as trained; multiplied with the strength at Apply Adapters."),
                io.String.Input("hub_file", default="", tooltip="repo_id:file of a LoRA on the Hugging Face hub, or the path of a file. Looked up in models/loras and in the cache on this machine first."),
                io.Boolean.Input("allow_download", default=False, tooltip="Off: nothing is ever downloaded. On: a file that is not on this machine is downloaded, its size is said first, and a broken download goes on where it stopped."),
                io.Combo.Input("published", options=[_NONE, *(p.label for p in PUBLISHED)], default=_NONE, tooltip="An adapter that Lightricks published for LTX-2 19B, in place of the two choices above. IC-LoRAs need Sample Reference; Distilled sets guidance 1 and its 8 steps through Apply Adapters."),
            ],
            outputs=[
                AdapterWire.Output("adapter", tooltip="For Apply Adapters, or to go on training."),
                io.String.Output("about", tooltip="Kind, rank, alpha, targets, family and reference scale of the file, and what a published adapter wants."),
            ],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, adapter: str = _NONE, hub_file: str = "", published: str = _NONE, **_) -> str:
        """A LoRA that was trained anew under its name is read again."""
        from .host.context import host

        return file_state(lambda: _find(host(), adapter, hub_file, False, published))

    @classmethod
    def execute(cls, adapter: str, strength: float, hub_file: str = "", allow_download: bool = False, published: str = _NONE) -> io.NodeOutput:
        with running() as host:
            path = _find(host, adapter, hub_file, allow_download, published)
            loaded = load_adapter(path)
            if loaded.left_out:
                host.reporter.message(f"{len(loaded.left_out)} layers of {loaded.name} change the text connectors and are left out; prompts are encoded without adapters.", "warning")
            return io.NodeOutput(WeightedAdapter(loaded, strength), _about(path))


class LTX2ApplyAdapters(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        slots = []
        for i in range(1, _SLOTS + 1):
            slots.append(AdapterWire.Input(f"adapter_{i}", optional=True, tooltip="An adapter, from Load Adapter or Train LoRA. Leave empty when not needed."))
            slots.append(io.Float.Input(f"strength_{i}", default=1.0, min=-10.0, max=10.0, step=0.05, optional=True, tooltip=f"Strength of adapter {i}. 0 switches it off; negative values turn it round. Costs nothing."))
        return io.Schema(
            node_id="LTX2ApplyAdapters",
            display_name="Apply LTX-2 Adapters",
            category=f"{CATEGORY}/adapters",
            description="The checkpoint with up to four adapters beside its weights. The weights themselves are not touched; chain two of these for more.",
            inputs=[
                CheckpointWire.Input("checkpoint", tooltip="The checkpoint to apply the adapters to."),
                *slots,
                SampleSettingsWire.Input("settings", optional=True, tooltip="Sample settings that are to follow the adapters: the distilled one sets guidance 1, 8 steps and its own noise levels. Others change nothing."),
            ],
            outputs=[
                CheckpointWire.Output("checkpoint", tooltip="The checkpoint with the adapters, for the sampling nodes."),
                SampleSettingsWire.Output("settings", tooltip="The settings as the adapters want them, for Sample."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, checkpoint, settings: SampleSettings | None = None, **slots) -> io.NodeOutput:
        with running() as host:
            pairs, settings = [], settings or SampleSettings()
            for i in range(1, _SLOTS + 1):
                weighted, strength = slots.get(f"adapter_{i}"), slots.get(f"strength_{i}", 1.0)
                if weighted is None or check_strength(weighted.adapter.name, strength * weighted.strength) == 0:
                    continue
                pairs.append((weighted.adapter, strength * weighted.strength))
                preset = preset_of(weighted.adapter.name)
                if preset.values:
                    settings = preset.apply(settings)
                    host.reporter.message(f"{weighted.adapter.name} sets {preset}.")
            return io.NodeOutput(checkpoint.with_adapters(*pairs), settings)


NODES = [LTX2LoadAdapter, LTX2ApplyAdapters]
