"""Configurations in every style that SimpleTuner reads: JSON, TOML, an environment file, or a command line's arguments."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path

from ..errors import LTX2Error

# Environment names that are not the option's name in capitals.
ENVIRONMENT_NAMES = {
    "RESUME_CHECKPOINT": "resume_from_checkpoint", "DATALOADER_CONFIG": "data_backend_config", "TRAINING_SEED": "seed",
    "ACCELERATE_CONFIG_PATH": "accelerate_config", "USE_XFORMERS": "enable_xformers_memory_efficient_attention", "MINIMUM_RESOLUTION": "minimum_image_size",
    "PUSH_CHECKPOINTS": "push_checkpoints_to_hub", "MAX_NUM_STEPS": "max_train_steps", "NUM_EPOCHS": "num_train_epochs",
    "CHECKPOINTING_STEPS": "checkpoint_step_interval", "CHECKPOINTING_LIMIT": "checkpoints_total_limit", "HUB_MODEL_NAME": "hub_model_id",
    "MODEL_NAME": "pretrained_model_name_or_path", "USE_GRADIENT_CHECKPOINTING": "gradient_checkpointing", "LR_SCHEDULE": "lr_scheduler",
    "VALIDATION_STEPS": "validation_step_interval", "TRAINING_NUM_PROCESSES": "num_processes", "TRAINING_NUM_MACHINES": "num_machines",
    "TRAINING_DYNAMO_BACKEND": "dynamo_backend", "TRAINER_DYNAMO_BACKEND": "dynamo_backend",
}  # fmt: skip
_EXTRA = "TRAINER_EXTRA_ARGS"
_LARGEST = 16 << 20


def option_name(name: str) -> str:
    """``--learning-rate`` -> ``learning_rate``."""
    return name.strip().lstrip("-").replace("-", "_")


def _words(text: str, path: Path) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise LTX2Error(f"{path.name} has a quote that is not closed ({error}); close it.") from error


def parse_arguments(words: list[str], path: Path) -> dict[str, object]:
    """``--key value``, ``--key=value``, and ``--flag`` alone, which is true.

    Raises:
        LTX2Error: a value without a key.
    """
    values: dict[str, object] = {}
    waiting: str | None = None
    for word in words:
        if word.startswith("--"):
            name, has_value, value = word.partition("=")
            waiting = None if has_value else option_name(name)
            values[option_name(name)] = value if has_value else True
        elif waiting is not None:
            values[waiting], waiting = word, None
        elif word != "\n":
            raise LTX2Error(f"{path.name} has {word!r} without an option before it; write --option {word}.")
    return values


def parse_environment(text: str, path: Path) -> dict[str, object]:
    """Lines ``NAME=value``, with or without ``export``; ``TRAINER_EXTRA_ARGS`` holds further arguments."""
    names: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise LTX2Error(f"Line {number} of {path.name} is {line!r}; write NAME=value.")
        adds = name.endswith("+")
        name, value = name.rstrip("+").strip(), " ".join(_words(value, path))
        names[name] = f"{names[name]} {value}" if adds and name in names else value
    extra = parse_arguments(_words(names.pop(_EXTRA, ""), path), path)
    return {**{ENVIRONMENT_NAMES.get(name, name.lower()): value for name, value in names.items()}, **extra}


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise LTX2Error(f"{path.name} is larger than {_LARGEST >> 20} MiB; give SimpleTuner's configuration.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise LTX2Error(f"The configuration {path} cannot be read ({error}); give the path of a text file in UTF-8.") from error


def _json(text: str, path: Path) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LTX2Error(f"{path.name} is no JSON ({error}); correct it.") from error


def read_config(path: Path) -> dict[str, object]:
    """Option names without dashes -> values; those of environment files and arguments are still text.

    Raises:
        LTX2Error: unreadable, or of no known style.
    """
    text = _text(path)
    if path.suffix.lower() == ".toml":
        try:
            raw: object = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise LTX2Error(f"{path.name} is no TOML ({error}); correct it.") from error
    elif path.suffix.lower() == ".env" or path.name.lower() == "config.env":
        raw = parse_environment(text, path)
    elif text.lstrip().startswith("--"):
        raw = parse_arguments(_words(text.replace("\\\n", " "), path), path)
    else:
        raw = _json(text, path)
    if isinstance(raw, list) and all(isinstance(word, str) for word in raw):
        raw = parse_arguments(raw, path)
    if not isinstance(raw, Mapping):
        raise LTX2Error(f"{path.name} holds a {type(raw).__name__}; SimpleTuner's configuration is an object of options (datasets are the second file).")
    return {option_name(str(key)): value for key, value in raw.items()}


def read_backends(path: Path) -> list[dict[str, object]]:
    """The datasets of a ``multidatabackend.json``.

    Raises:
        LTX2Error: unreadable, or no list of objects.
    """
    raw = _json(_text(path), path)
    if not isinstance(raw, list) or not all(isinstance(entry, Mapping) for entry in raw):
        raise LTX2Error(f"{path.name} is no list of datasets; give SimpleTuner's multidatabackend.json.")
    return [dict(entry) for entry in raw]
