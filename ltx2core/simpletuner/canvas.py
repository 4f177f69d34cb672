"""An imported run as a canvas workflow: one node for each part, and a list of what no widget holds.

``canvas_nodes.json`` says which widgets the nodes have; tests/simpletuner/write_canvas_nodes.py makes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..data.spec import DatasetSpec
from ..models.vae_memory import VaeMemory
from ..runspec import RunFile, SampleJob
from ..strict import from_dict, to_plain
from ..train.settings import RunConfig, TimestepSettings, TrainSettings

_SCHEMAS = Path(__file__).with_name("canvas_nodes.json")
_OBJECTIVE = {"kind": "timesteps"}
_OBJECTIVE_OWN = ("loss", "huber_c", "audio_only", "av_cross_timestep")  # of the train settings
_CREPA = {"block_index": "block"}
_ROLLOUT = {"steps": "sampling_steps"}
_MEMORY = {"streamed": "streamed_blocks", "kept": "kept_blocks", "compiled": "compile", "captured": "capture"}
# Of a dataset: what has no meaning in a graph, and the mixture's part.
_FOUND = ("disabled", "probability")
_MIXED = 4  # datasets that Mix Datasets takes


def node_schemas() -> dict[str, dict]:
    """What the nodes declare, in the form of the host's /object_info."""
    return json.loads(_SCHEMAS.read_text(encoding="utf-8"))


def defaults_of(kind: type) -> dict[str, Any]:
    """Of a settings record, as JSON."""
    pairs = ((f.name, f.default if f.default is not MISSING else f.default_factory()) for f in fields(kind) if f.default is not MISSING or f.default_factory is not MISSING)
    return {name: to_plain(value) for name, value in pairs}


@dataclass
class _Builder:
    """Adds nodes to ``graph`` and collects in ``left`` what they have no widget for."""

    graph: Any
    schemas: Mapping[str, dict]
    left: list[str] = field(default_factory=list)

    def names(self, kind: str) -> set[str]:
        return {name for part in self.schemas[kind]["input"].values() for name in part}

    def add(self, kind: str, values: Mapping[str, Any], wires: Mapping[str, Any] = {}, defaults: Mapping[str, Any] = {}, what: str = "", ignore: Iterable[str] = ()):
        known = self.names(kind)
        self.left += [f"{what}.{k} = {v}" for k, v in values.items() if k not in known and k not in ignore and v != defaults.get(k)]
        return self.graph.add(kind, **{k: v for k, v in values.items() if k in known}, **{k: v for k, v in wires.items() if k in known})


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(k, k): v for k, v in values.items()}


def _options(build: _Builder, spec: DatasetSpec) -> dict[str, Any]:
    """The wire of Dataset Options, with what Video Dataset has no widget for; nothing where all of it is as usual."""
    known, values, defaults = build.names("LTX2DatasetOptions"), to_plain(spec), defaults_of(DatasetSpec)
    # The folder gives the name too.
    values["id"] = "" if spec.id == Path(spec.folder).name else spec.id
    changed = {k: v for k, v in values.items() if k in known and k not in _FOUND and v != defaults.get(k)}
    if spec.caption_shuffle is not None:
        shuffle = to_plain(spec.caption_shuffle)
        changed |= {"shuffles": shuffle["count"], **{f"shuffle_{k}": shuffle[k] for k in ("split_on", "keep_first", "include_original")}}
    return {"options": build.add("LTX2DatasetOptions", changed, what="dataset").out()} if changed else {}


def _vae(vae: Mapping[str, Any] | None) -> dict[str, Any]:
    """The widgets of Cache Dataset."""
    if vae is None:
        return {}
    plain = to_plain(from_dict(VaeMemory, vae, "vae"))
    tiling = plain["tiling"]
    tiles = {"vae_tile": tiling["size"], "vae_tile_overlap": tiling["overlap"]} if tiling else {}
    return {"vae": "manual", **{f"vae_{k}": plain[k] for k in ("batch_size", "slicing", "patch_conv", "temporal_roll")}, **tiles}


def _dataset(build: _Builder, spec: DatasetSpec, wires: Mapping[str, Any], vae: Mapping[str, Any] | None):
    values, defaults = to_plain(spec), defaults_of(DatasetSpec)
    options = _options(build, spec)
    elsewhere = (*_FOUND, "caption_shuffle", *build.names("LTX2DatasetOptions"))
    node = build.add("LTX2VideoDataset", values, options, defaults=defaults, what="dataset", ignore=elsewhere)
    return build.add("LTX2CacheDataset", _vae(vae), {"dataset": node.out(), **wires}).out()


def _mixed(build: _Builder, caches: Sequence[Any], shares: Sequence[float]) -> Any:
    """One wire of all; ``shares`` are 0 where datasets come by size. More than one node takes are mixed in groups."""
    if len(caches) == 1:
        return caches[0]
    if len(caches) > _MIXED:
        head, rest = caches[: _MIXED - 1], caches[_MIXED - 1 :]
        inner = _mixed(build, rest, shares[_MIXED - 1 :])
        return _mixed(build, [*head, inner], [*shares[: _MIXED - 1], sum(shares[_MIXED - 1 :])])
    wires = {f"cache_{n}": cache for n, cache in enumerate(caches, 1)}
    return build.add("LTX2MixDatasets", {f"share_{n}": share for n, share in enumerate(shares, 1)}, wires, what="datasets").out()


def _lora(build: _Builder, run: RunConfig):
    values = to_plain(run.lora)
    if not isinstance(run.lora.targets, str):
        values |= {"targets": "auto", "patterns": ", ".join(run.lora.targets)}
    return build.add("LTX2LoRASettings", values, defaults={"init": "kaiming_uniform"}, what="lora").out()


def _conditions(train: TrainSettings) -> dict[str, Any]:
    values: dict[str, Any] = {f"{c.kind}_{name}": v for c in train.conditioning.conditions for name, v in (("probability", c.probability), ("frames", c.frames)) if v}
    values |= {f"{c.kind}_region": ", ".join(map(str, c.region)) for c in train.conditioning.conditions if c.region}
    rest = to_plain(train.conditioning)
    return values | {"frozen_audio": rest["frozen_audio"], "frozen_video": rest["frozen_video"], "reference_probability": rest["reference"],
                     "reference_spatial": rest["reference_spatial"] or 0, "reference_temporal": rest["reference_temporal"] or 0}  # fmt: skip


def _train(build: _Builder, train: TrainSettings):
    plain, usual = to_plain(train), defaults_of(TrainSettings)
    elsewhere = ("timesteps", "loss", "huber_c", "audio_only", "av_cross_timestep", "conditioning", "tread", "rollout", "reflexflow", "crepa", "tracking", "preview_every")
    schedule = build.names("LTX2ScheduleSettings")
    wire = build.add("LTX2TrainSettings", plain, defaults=usual, what="train", ignore=(*elsewhere, *schedule)).out()

    def method(kind: str, values: Mapping[str, Any], defaults: Mapping[str, Any], what: str):
        return build.add(kind, values, {"settings": wire}, defaults, what).out()

    objective = {k: plain[k] for k in _OBJECTIVE_OWN} | _renamed(plain["timesteps"], _OBJECTIVE)
    if any(plain[k] != usual[k] for k in ("timesteps", *_OBJECTIVE_OWN)):
        objective |= {"shift": objective["shift"] or 0.0, "offsets": "\n".join(f"{p} {n:g}" for p, n in train.timesteps.offsets)}
        wire = method("LTX2ObjectiveSettings", objective, defaults_of(TimestepSettings), "train.timesteps")
    if plain["conditioning"] != usual["conditioning"]:
        wire = method("LTX2ConditioningSettings", _conditions(train), {}, "train.conditioning")
    if any(plain[k] != usual[k] for k in schedule if k in plain):
        wire = method("LTX2ScheduleSettings", {k: plain[k] for k in schedule if k in plain}, usual, "train")
    for route in plain["tread"]:
        wire = method("LTX2Tread", {"selection_ratio": route["selection_ratio"], "start_layer": route["start_layer_idx"], "end_layer": route["end_layer_idx"]}, {}, "train.tread")
    if train.crepa is not None:
        wire = method("LTX2Crepa", _renamed(plain["crepa"], _CREPA), defaults_of(type(train.crepa)), "train.crepa")
    if train.rollout.max_step_offset:
        flow = {"reflexflow": False} if train.reflexflow is None else {"reflexflow": True, "anti_drift": train.reflexflow.beta1, "exposure": train.reflexflow.alpha, "flow_weight": train.reflexflow.beta2}
        wire = method("LTX2ScheduledSampling", _renamed(plain["rollout"], _ROLLOUT) | flow, defaults_of(type(train.rollout)), "train.rollout")
    if plain["tracking"] != usual["tracking"]:
        tracking = plain["tracking"]
        switches = {name: name in tracking["trackers"] for name in ("tensorboard", "wandb")}
        wire = method("LTX2Tracking", {k: v for k, v in tracking.items() if k != "trackers"} | switches, {}, "train.tracking")
    return wire


def _memory(build: _Builder, run: RunFile) -> dict[str, Any]:
    settings = run.memory_settings
    if settings is None:
        return {}
    values = {"mode": "manual", **_renamed(to_plain(settings), _MEMORY)}
    return {"memory": build.add("LTX2MemorySettings", values, defaults={"mode": "manual", **defaults_of(type(settings))}, what="memory").out()}


def _previews(build: _Builder, run: RunFile, prompts) -> dict[str, Any]:
    wire = None
    for job in run.preview_jobs:
        values = {"name": job.name, "every": run.config.train.preview_every, **{k: v for k, v in job.settings.items() if k in build.names("LTX2TrainingPreview")}}
        wire = build.add("LTX2TrainingPreview", values, {**prompts(job), **({"previews": wire} if wire else {})}, what="previews").out()
    return {"previews": wire} if wire else {}


def imported_graph(run: RunFile, graph: Any, schemas: Mapping[str, dict]) -> tuple[Any, tuple[str, ...]]:
    """Fill ``graph`` (a ``workflows.graph.Graph``); returns it, and the values that no widget holds."""
    build = _Builder(graph, schemas)
    models = {
        "checkpoint": build.add("LTX2LoadCheckpoint", {"checkpoint": Path(run.checkpoint).name}).out(),
        "text_encoder": build.add("LTX2LoadTextEncoder", {"text_encoder": Path(run.text_encoder).name}).out(),
    }  # fmt: skip
    encoded: dict[str, Any] = {}

    def prompts(job: SampleJob) -> dict[str, Any]:
        for text in (job.prompt, job.negative):
            if text not in encoded:
                encoded[text] = build.add("LTX2EncodePrompt", {"prompt": text}, models).out()
        return {"positive": encoded[job.prompt], "negative": encoded[job.negative]}

    mixed = _mixed(build, [_dataset(build, spec, models, run.vae) for spec in run.specs], [spec.probability for spec in run.specs])
    others = {"validation": run.validation_dataset, "references": run.references, "regularisation": run.regularisation}
    wires = {name: _dataset(build, from_dict(DatasetSpec, raw, name), models, run.vae) for name, raw in others.items() if raw is not None}
    wires |= {"checkpoint": models["checkpoint"], "cache": mixed, "lora": _lora(build, run.config), "settings": _train(build, run.config.train)}
    wires |= {**_memory(build, run), **_previews(build, run, prompts)}
    trained = build.add("LTX2TrainLoRA", {"name": run.name}, wires)
    if run.adapter:
        build.left.append(f"adapter = {run.adapter}")
    for job in run.jobs:
        _sample(build, job, models, trained.out(), prompts)
    return graph, tuple(build.left)


def _sample(build: _Builder, job: SampleJob, models: Mapping[str, Any], adapter: Any, prompts) -> None:
    if job.image or job.sound:
        build.left.append(f"samples.{job.name}: wire its picture or sound to Sample I2V or S2V")
        return
    applied = build.add("LTX2ApplyAdapters", {"strength_1": job.strength}, {"checkpoint": models["checkpoint"], "adapter_1": adapter}).out()
    # Without a scale of its own the sound takes the picture's.
    settings = {"audio_cfg": job.settings.get("video_cfg", 5.0), **job.settings}
    latents = build.add("LTX2SampleT2V", settings, {"checkpoint": applied, **prompts(job)}, what=f"samples.{job.name}").out()
    video = build.add("LTX2Decode", {}, {"checkpoint": applied, "latents": latents}).out(2)
    build.add("LTX2SaveVideo", {"filename_prefix": f"ltx2/{job.name}"}, {"video": video})


def canvas_files(run: RunFile, graph_class: type, path: Path) -> tuple[dict[Path, dict], tuple[str, ...]]:
    """The canvas file at ``path``, its API form beside it, and what no widget holds."""
    schemas = node_schemas()
    graph, left = imported_graph(run, graph_class(path.stem), schemas)
    missing = f"\n\nNo widget holds these values, which the run file has:\n{chr(10).join('- ' + line for line in left)}" if left else ""
    graph.note = f"## {run.name}, from SimpleTuner\nPut the models into their folders, choose them, and press Run.{missing}"
    return {path: graph.canvas(schemas), path.with_suffix(".api.json"): graph.api(schemas)}, left
