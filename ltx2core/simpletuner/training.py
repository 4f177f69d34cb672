"""The adapter, the optimizer, the learning rate and the noise levels of a SimpleTuner configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

from ..errors import LTX2Error
from ..strict import nearest
from .options import Options, as_data
from .rows import put

_INITS = {"default": "kaiming_uniform", "true": "kaiming_uniform", "gaussian": "gaussian"}
_SCHEDULES = {
    "constant": "constant", "constant_with_warmup": "constant", "linear": "linear", "cosine": "cosine", "cosine_with_restarts": "cosine", "polynomial": "polynomial",
}  # fmt: skip
_DTYPES = {"bf16": "bf16", "no": "float32", "fp32": "float32"}
_PREFIXES = ("torch-", "optimi-", "bnb-", "ao-")
_OPTIMIZERS = {
    "adamw_bf16": "adamw_bf16", "adamw": "adamw", "adam": "adamw", "adamw8bit": "adamw_8bit", "adamw-8bit": "adamw_8bit", "adamw-paged": "adamw",
    "adamw8bit-paged": "adamw_8bit", "adamw-4bit": "adamw_8bit", "adamw4bit": "adamw_8bit", "prodigy": "prodigy", "adafactor": "adafactor", "lion": "lion",
    "lion8bit": "lion", "lion-paged": "lion", "lion8bit-paged": "lion",
}  # fmt: skip
_CHOSEN_BY_DATA = ("to_k", "to_q", "to_v", "to_out.0")


def _choice(options: Options, key: str, known: dict[str, str], default: str) -> str:
    value = options.text(key, default).lower()
    if value not in known:
        raise LTX2Error(f"{options.source}: {key} is {value!r}, which this pack does not have; {nearest(value, known)}")
    return known[value]


def _lycoris(options: Options, folder: Path) -> dict:
    """The adapter of a LyCORIS file: its algorithm, size and factor."""
    path = folder / Path(options.text("lycoris_config", "config/lycoris_config.json")).expanduser()
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        kind = str(raw["algo"]).lower()
        lora = {"kind": kind, "rank": int(raw["linear_dim"]), "alpha": float(raw["linear_alpha"]), "factor": int(raw.get("factor", -1))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LTX2Error(f"The LyCORIS file {path} cannot be read ({error}); give algo, linear_dim and linear_alpha in JSON.") from error
    if kind not in ("lora", "lokr", "loha"):
        raise LTX2Error(f"{path.name}: algo is {kind!r}; choose lora, lokr or loha.")
    return lora


def read_lora(options: Options, run: dict, folder: Path) -> None:
    """``run["lora"]``."""
    if options.text("lora_type", "standard") == "lycoris":
        run["lora"] = _lycoris(options, folder)
        options.mapped("lycoris_config", "lora", "its algo, linear_dim, linear_alpha and factor; targets are chosen by Targets here")
        for key in ("lora_rank", "lora_alpha", "lora_dropout", "use_dora", "lora_init_type"):
            options.idle(key, "the LyCORIS file says it")
    else:
        rank = options.whole("lora_rank", 16)
        run["lora"] = {"rank": rank, "alpha": options.number("lora_alpha", float(rank)), "dropout": options.number("lora_dropout", 0.1)}
        run["lora"] |= {"kind": "dora" if options.flag("use_dora") else "lora", "init": _choice(options, "lora_init_type", _INITS, "default")}
        for key, name in (("lora_rank", "rank"), ("lora_alpha", "alpha"), ("lora_dropout", "dropout")):
            options.default(key, run["lora"][name], f"lora.{name}")
            options.honoured(key, f"lora.{name}")
        options.honoured("use_dora", "lora.kind")
        options.honoured("lora_init_type", "lora.init")
        options.idle("lycoris_config", "it is read with lora_type lycoris alone, in SimpleTuner too")
    options.honoured("lora_type", "lora.kind")
    if options.text("peft_lora_mode", "standard") != "standard":
        raise LTX2Error(f"{options.source}: peft_lora_mode {options.text('peft_lora_mode')!r} is not in this pack; choose standard.")
    options.honoured("peft_lora_mode", "lora.kind")
    options.mapped("lora_format", "", "the file carries ComfyUI's names, which every reader knows")
    _targets(options, run)


def _targets(options: Options, run: dict) -> None:
    names = options.read("peft_lora_target_modules", as_data)
    if names is None:
        options.idle("peft_lora_target_modules", "it is empty")
        return
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise LTX2Error(f"{options.source}: peft_lora_target_modules must be a list of layer names.")
    run["lora"]["targets"] = "auto" if sorted(names) == sorted(_CHOSEN_BY_DATA) else [f"*.{n}" for n in names]
    options.mapped("peft_lora_target_modules", "lora.targets", "names at the end of a path become patterns of whole paths")


def read_optimizer(options: Options, run: dict) -> None:
    train = run["train"]
    name = options.text("optimizer", "adamw_bf16").lower()
    bare = next((name.removeprefix(p) for p in _PREFIXES if name.startswith(p)), name)
    if bare not in _OPTIMIZERS:
        raise LTX2Error(f"{options.source}: the optimizer {name!r} is not in this pack; {nearest(bare, sorted(set(_OPTIMIZERS.values())))}")
    train["optimizer"] = _OPTIMIZERS[bare]
    if train["optimizer"] == name:
        options.honoured("optimizer", "train.optimizer")
    options.mapped("optimizer", "train.optimizer", f"{train['optimizer']} is the same method here")
    options.default("optimizer", "adamw_bf16", "train.optimizer")
    for key, usual in (("adam_beta1", 0.9), ("optimizer_beta1", 0.9), ("adam_beta2", 0.999), ("optimizer_beta2", 0.999), ("adam_epsilon", 1e-8)):
        value = options.number(key, usual)
        options.idle(key, f"it is {usual:g} here", loss=abs(value - usual) > 1e-6)
    _optimizer_config(options, train)
    options.mapped("grad_clip_method", "train.max_grad_norm", "gradients are cut by their norm, which keeps their direction")
    train["dtype"] = _choice(options, "mixed_precision", _DTYPES, "bf16")
    options.honoured("mixed_precision", "train.dtype")
    options.idle("base_model_default_dtype", "what is not quantised has the type of train.dtype")
    options.idle("gradient_precision", "gradients are summed in float32")


def _optimizer_config(options: Options, train: dict) -> None:
    text = options.text("optimizer_config")
    pairs = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    if "weight_decay" in pairs:
        train["weight_decay"] = float(pairs.pop("weight_decay"))
    rest = {k: v for k, v in pairs.items() if not (k in ("betas", "eps"))}
    options.mapped("optimizer_config", "train.weight_decay", "its weight_decay; the rest is fixed here" if pairs else "its weight_decay", loss=bool(rest))


def read_schedule(options: Options, run: dict, samples: Callable[[], int] | None) -> None:
    """Steps, learning rate and its course. ``samples`` counts the samples of an epoch, for ``num_train_epochs``."""
    train = run["train"]
    _steps(options, train, samples)
    name = options.text("lr_scheduler", "constant_with_warmup").lower()
    train["schedule"] = _choice(options, "lr_scheduler", _SCHEDULES, "constant_with_warmup")
    options.honoured("lr_scheduler", "train.schedule")
    train["warmup"] = 0 if name == "constant" else options.whole("lr_warmup_steps", 0)
    if name == "constant":
        options.idle("lr_warmup_steps", "the scheduler constant has no warm-up, in SimpleTuner too")
    options.honoured("lr_warmup_steps", "train.warmup")
    options.default("lr_warmup_steps", 0, "train.warmup")
    _scaled_rate(options, train)
    _course(options, train, name)


def _steps(options: Options, train: dict, samples: Callable[[], int] | None) -> None:
    steps, epochs = options.whole("max_train_steps", 0), options.whole("num_train_epochs", 1)
    if steps:
        train["steps"] = steps
        options.honoured("max_train_steps", "train.steps")
        options.idle("num_train_epochs", "max_train_steps says how long the run is", loss=False)
        return
    if samples is None or epochs < 1:
        raise LTX2Error(f"{options.source} says neither max_train_steps nor num_train_epochs with datasets to count; give max_train_steps.")
    train["steps"] = epochs * math.ceil(samples() / (train["batch_size"] * train["accumulation"]))
    options.idle("max_train_steps", "max_train_steps is 0; num_train_epochs counts")
    options.mapped("num_train_epochs", "train.steps", f"{train['steps']} steps of {train['batch_size']} clips, counted from the datasets as they are now")
    options.default("num_train_epochs", epochs, "train.steps")


def _scaled_rate(options: Options, train: dict) -> None:
    scale = options.flag("lr_scale")
    if scale and "learning_rate" in train:
        batch = train["batch_size"] * train["accumulation"]
        train["learning_rate"] *= math.sqrt(batch) if options.flag("lr_scale_sqrt") else batch
    options.mapped("lr_scale", "train.learning_rate", "multiplied out by the batch")
    options.mapped("lr_scale_sqrt", "train.learning_rate", "of the batch's root, with lr_scale")


def _course(options: Options, train: dict, name: str) -> None:
    rate, end = train.get("learning_rate"), options.number("lr_end", 4e-7)
    falls = name in ("polynomial", "cosine")
    if falls and rate:
        train["schedule_end"] = min(1.0, end / rate)
        options.mapped("lr_end", "train.schedule_end", "as a share of the learning rate")
    options.idle("lr_end", f"the scheduler {name} does not end there")
    if name == "cosine_with_restarts":
        train["schedule_restarts"] = max(0, options.whole("lr_num_cycles", 1) - 1)
        options.mapped("lr_num_cycles", "train.schedule_restarts", "one less: how often it begins again")
    options.idle("lr_num_cycles", f"the scheduler {name} has no cycles")
    if name == "polynomial":
        train["schedule_power"] = options.number("lr_power", 0.8)
        options.honoured("lr_power", "train.schedule_power")
    options.idle("lr_power", f"the scheduler {name} has no power")


def read_ema(options: Options, run: dict) -> None:
    on = options.flag("use_ema")
    if on:
        run["train"]["ema_decay"] = options.number("ema_decay", 0.995)
        options.honoured("ema_decay", "train.ema_decay")
    options.mapped("use_ema", "train.ema_decay", "a decay above 0 switches it on")
    options.idle("ema_decay", "use_ema is off")
    for key, neutral in (("ema_update_interval", 1), ("ema_warmup_steps", 0)):
        options.idle(key, "the mean is updated at every step, from the first on", loss=on and options.whole(key, neutral) not in (0, neutral))


def read_timesteps(options: Options, run: dict) -> None:
    """SimpleTuner draws sigmoid(scale * normal), shifted by a fixed 3 unless it is told otherwise."""
    shift, scale = options.number("flow_schedule_shift", 3.0), options.number("flow_sigmoid_scale", 1.0)
    automatic = options.flag("flow_schedule_auto_shift")
    drawn: dict[str, object] = {"kind": "logit_normal", "std": scale, "uniform_fraction": 0.0}
    if options.flag("flow_use_uniform_schedule"):
        drawn = {"kind": "uniform", "uniform_fraction": 0.0}
    elif options.flag("flow_use_beta_schedule"):
        drawn = {"kind": "beta", "uniform_fraction": 0.0}
        drawn |= {"alpha": options.number("flow_beta_schedule_alpha", 2.0), "beta": options.number("flow_beta_schedule_beta", 2.0)}
    if shift:
        drawn["shift"] = shift
    elif automatic and drawn["kind"] == "logit_normal":
        drawn = {"kind": "shifted_logit_normal", "std": scale}
    put(run, "train.timesteps", drawn)
    options.honoured("flow_schedule_shift", "train.timesteps.shift")
    options.default("flow_schedule_shift", 3.0, "train.timesteps.shift")
    options.honoured("flow_sigmoid_scale", "train.timesteps.std")
    for key in ("flow_use_uniform_schedule", "flow_use_beta_schedule"):
        options.mapped(key, "train.timesteps.kind", "a kind of timesteps")
    for name in ("alpha", "beta"):
        if name in drawn:
            options.honoured(f"flow_beta_schedule_{name}", f"train.timesteps.{name}")
        options.idle(f"flow_beta_schedule_{name}", "the beta schedule is off")
    note = "a fixed flow_schedule_shift goes before it, in SimpleTuner too" if shift else "the shift follows the real number of tokens"
    options.mapped("flow_schedule_auto_shift", "train.timesteps.kind", note)
    options.idle("huber_schedule", "huber_c is constant over the noise levels", loss=options.text("loss_type", "l2") != "l2" and options.text("huber_schedule", "snr") != "constant")
