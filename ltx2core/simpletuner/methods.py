"""CREPA, TREAD, scheduled sampling and conditioning of a SimpleTuner configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import LTX2Error
from ..train.crepa import FEATURE_SOURCES
from ..train.rollout_settings import ORDERS
from .options import Options, as_data, as_flag, as_number, as_text, as_whole
from .rows import put

# Its names of DINOv2's sizes and the hub's.
ENCODERS = {f"dinov2_vit{letter}14": f"facebook/dinov2-{size}" for letter, size in (("s", "small"), ("b", "base"), ("l", "large"), ("g", "giant"))}
_CREPA: Mapping[str, tuple[str, Callable]] = {
    "crepa_block_index": ("block_index", as_whole), "crepa_lambda": ("weight", as_number), "crepa_adjacent_distance": ("adjacent_distance", as_whole),
    "crepa_adjacent_tau": ("adjacent_tau", as_number), "crepa_cumulative_neighbors": ("cumulative_neighbours", as_flag),
    "crepa_normalize_neighbour_sum": ("normalise_neighbours", as_flag), "crepa_normalize_by_frames": ("normalise_by_frames", as_flag),
    "crepa_spatial_align": ("spatial_align", as_flag), "crepa_encoder_image_size": ("image_size", as_whole),
    "crepa_drop_vae_encoder": ("drop_vae_encoder", as_flag), "crepa_warmup_steps": ("warmup_steps", as_whole), "crepa_scheduler": ("schedule", as_text),
    "crepa_lambda_end": ("end_weight", as_number), "crepa_decay_steps": ("decay_steps", as_whole), "crepa_power": ("power", as_number),
    "crepa_cutoff_step": ("cutoff_step", as_whole), "crepa_similarity_threshold": ("similarity_threshold", as_number),
    "crepa_threshold_mode": ("threshold_mode", as_text), "crepa_teacher_block_index": ("teacher_block_index", as_whole),
}  # fmt: skip
_CREPA_OTHER = ("crepa_encoder", "crepa_model", "crepa_encoder_frames_batch_size", "crepa_similarity_ema_decay", "crepa_feature_source", "crepa_use_backbone_features", "crepa_use_tae")
_ROLLOUT: Mapping[str, tuple[str, Callable]] = {
    "scheduled_sampling_max_step_offset": ("max_step_offset", as_whole), "scheduled_sampling_probability": ("probability", as_number),
    "scheduled_sampling_prob_start": ("probability_start", as_number), "scheduled_sampling_prob_end": ("probability_end", as_number),
    "scheduled_sampling_ramp_steps": ("ramp_steps", as_whole), "scheduled_sampling_start_step": ("start_step", as_whole),
    "scheduled_sampling_ramp_shape": ("ramp_shape", as_text), "scheduled_sampling_strategy": ("strategy", as_text),
}  # fmt: skip
_ORDER = 2  # its own default
_REFLEX = {f"scheduled_sampling_reflexflow_{name}": name for name in ("alpha", "beta1", "beta2")}
# Shorthands of ltx2_intrinsic_conditioning; the last word is the condition's field.
INTRINSIC = tuple(
    f"ltx2_{kind}_conditioning_{field}"
    for kind, fields in (("first_frame", ("probability",)), ("prefix", ("probability", "frames")), ("suffix", ("probability", "frames")), ("mask", ("probability",)))
    for field in fields
)
METHOD_KEYS = (
    *_CREPA, *_CREPA_OTHER, "crepa_enabled", "tread_config", *_ROLLOUT, "scheduled_sampling_sampler", "scheduled_sampling_order", "scheduled_sampling_reflexflow", *_REFLEX,
    "ltx2_intrinsic_conditioning", *INTRINSIC,
)  # fmt: skip


def read_crepa(options: Options, run: dict) -> None:
    if not options.flag("crepa_enabled"):
        for key in ("crepa_enabled", *_CREPA, *_CREPA_OTHER):
            options.idle(key, "CREPA is off")
        return
    source = "backbone" if options.flag("crepa_use_backbone_features") else options.text("crepa_feature_source", "encoder")
    if source not in FEATURE_SOURCES:
        raise LTX2Error(f"{options.source}: crepa_feature_source {source!r} is not in this pack; choose one of {', '.join(FEATURE_SOURCES)}.")
    name = options.text("crepa_encoder", options.text("crepa_model", "dinov2_vitg14"))
    crepa = {field: value for key, (field, kind) in _CREPA.items() if (value := options.read(key, kind)) is not None}
    taught = {"feature_source": source} if source == "backbone" else {"encoder": ENCODERS.get(name, name)}
    run["train"]["crepa"] = {**taught, "power": options.number("crepa_power", 1.0), **crepa}
    options.mapped("crepa_enabled", "train.crepa", "having these settings switches it on")
    for key, (field, _) in _CREPA.items():
        options.honoured(key, f"train.crepa.{field}")
        options.idle(key, "it is empty")
    for key in ("crepa_encoder", "crepa_model"):
        options.mapped(key, "train.crepa.encoder", "a folder beside the run file, or the hub's name; train.crepa.allow_download lets it be downloaded")
    batch = options.whole("crepa_encoder_frames_batch_size", -1)
    run["train"]["crepa"]["frames_batch"] = max(0, batch)
    options.mapped("crepa_encoder_frames_batch_size", "train.crepa.frames_batch", "0 is all at once")
    decay = options.number("crepa_similarity_ema_decay", 0.99)
    options.idle("crepa_similarity_ema_decay", "it is 0.99 here", loss=decay != 0.99 and "similarity_threshold" in crepa)
    for key in ("crepa_feature_source", "crepa_use_backbone_features"):
        options.mapped(key, "train.crepa.feature_source", "encoder, or backbone for the model's own hidden states")
    options.idle("crepa_use_tae", "features are made once and kept, so decoding them costs little")


def read_tread(options: Options, run: dict) -> None:
    raw = options.read("tread_config", as_data)
    if raw is None:
        options.idle("tread_config", "it is empty")
        return
    routes = raw.get("routes") if isinstance(raw, Mapping) else None
    if not isinstance(routes, list) or not all(isinstance(r, Mapping) for r in routes):
        raise LTX2Error(f"{options.source}: tread_config must be an object with a list of routes.")
    run["train"]["tread"] = [dict(route) for route in routes]
    options.honoured("tread_config", "train.tread")


def read_rollout(options: Options, run: dict) -> None:
    rollout = {field: value for key, (field, kind) in _ROLLOUT.items() if (value := options.read(key, kind)) is not None}
    on = rollout.get("max_step_offset", 0) > 0
    if on:
        ramp = rollout.get("ramp_steps", 0) > 0
        rollout.setdefault("probability", 0.0)
        for field, value in (("probability_start", 0.0), ("probability_end", 0.5)):
            rollout.setdefault(field, value)
        sampler = options.text("scheduled_sampling_sampler", "unipc")
        if sampler not in ORDERS:
            raise LTX2Error(f"{options.source}: scheduled_sampling_sampler {sampler!r} is not in this pack; choose one of {', '.join(ORDERS)}.")
        rollout |= {"sampler": sampler, "order": _order(options, sampler)}
        run["train"]["rollout"] = rollout
        _reflex(options, run, ramp or rollout["probability"] > 0)
    why = "scheduled_sampling_max_step_offset is 0, so nothing is rolled out"
    for key, (field, _) in _ROLLOUT.items():
        if on:
            options.mapped(key, f"train.rollout.{field}", "in solver steps of 1/30 of the way, where SimpleTuner's are 1/999") if field == "max_step_offset" else None
            options.honoured(key, f"train.rollout.{field}")
        options.idle(key, why)
    options.honoured("scheduled_sampling_sampler", "train.rollout.sampler", "the solver really takes these steps") if on else None
    for key in ("scheduled_sampling_sampler", "scheduled_sampling_order"):
        options.idle(key, why)
    for key in ("scheduled_sampling_reflexflow", *_REFLEX):
        options.idle(key, why)


def _order(options: Options, sampler: str) -> int:
    """The order asked for where the sampler has it, else its highest."""
    order, known = options.whole("scheduled_sampling_order", _ORDER), ORDERS[sampler]
    if order in known:
        options.honoured("scheduled_sampling_order", "train.rollout.order")
        return order
    options.mapped("scheduled_sampling_order", "train.rollout.order", f"the sampler {sampler} has the orders {', '.join(map(str, known))} here", loss=order > max(known) > 1)
    return max(known)


def _reflex(options: Options, run: dict, rolled: bool) -> None:
    wanted = options.flag("scheduled_sampling_reflexflow", default=rolled)
    options.mapped("scheduled_sampling_reflexflow", "train.reflexflow", "its exposure weight is scaled by the mean, so that it really acts")
    if wanted:
        run["train"]["reflexflow"] = {name: options.number(key) for key, name in _REFLEX.items() if options.number(key) is not None}
        for key, name in _REFLEX.items():
            options.honoured(key, f"train.reflexflow.{name}")


def _condition(raw: object, source: str) -> dict:
    if not isinstance(raw, Mapping) or "type" not in raw:
        raise LTX2Error(f"{source}: ltx2_intrinsic_conditioning must be a list of objects with a type.")
    condition: dict[str, object] = {"kind": raw["type"], "probability": float(raw.get("probability", 1.0))}
    if raw.get("temporal_boundary"):
        condition["frames"] = int(raw["temporal_boundary"])
    if raw.get("spatial_region"):
        condition["region"] = [int(n) for n in raw["spatial_region"]]
    return condition


def read_conditioning(options: Options, run: dict) -> None:
    listed = options.read("ltx2_intrinsic_conditioning", as_data) or []
    conditions = [_condition(raw, options.source) for raw in ([listed] if isinstance(listed, Mapping) else listed)]
    for kind in ("first_frame", "prefix", "suffix", "mask"):
        probability = options.number(f"ltx2_{kind}_conditioning_probability", 0.0)
        frames = options.whole(f"ltx2_{kind}_conditioning_frames", 0)
        if probability > 0:
            conditions.append({"kind": kind, "probability": probability, **({"frames": frames} if frames else {})})
    first = [c for c in conditions if c["kind"] == "first_frame"]
    if first:
        run["train"]["first_frame_probability"] = first[0]["probability"]
    others = [c for c in conditions if c["kind"] != "first_frame"]
    if others:
        put(run, "train.conditioning.conditions", others)
    options.honoured("ltx2_intrinsic_conditioning", "train.conditioning.conditions")
    for key in INTRINSIC:
        where = "train.first_frame_probability" if "first_frame" in key else "train.conditioning.conditions"
        options.mapped(key, where, "one of the conditions")
