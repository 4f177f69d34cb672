"""SimpleTuner's validation as videos to make."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import LTX2Error
from .options import Options, as_data

_SIZE = re.compile(r"(\d+)x(\d+)")
_FRAMES = 121  # what 125, SimpleTuner's count without a setting, decodes to
_SETTINGS = {"validation_guidance": "video_cfg", "ltx2_validation_audio_guidance": "audio_cfg", "validation_num_inference_steps": "steps",
             "validation_num_video_frames": "frames", "validation_seed": "seed", "validation_guidance_rescale": "rescale"}  # fmt: skip
_WHOLE = ("validation_num_inference_steps", "validation_num_video_frames", "validation_seed")
_DEFAULTS = {"validation_guidance": 7.5, "validation_num_inference_steps": 30, "validation_num_video_frames": _FRAMES}
_ADAPTERS = ("validation_adapter_path", "validation_adapter_config", "validation_adapter_name", "validation_adapter_strength", "validation_adapter_mode")
VALIDATION_KEYS = (
    *_SETTINGS, *_ADAPTERS, "validation_prompt", "validation_negative_prompt", "validation_prompt_library", "user_prompt_library", "validation_resolution",
    "validation_disable", "validation_using_datasets", "validation_input", "validation_audio_only", "validation_lycoris_strength", "num_validation_images",
    "ltx2_validation_pipeline_mode", "eval_dataset_id",
)  # fmt: skip


def _sizes(options: Options) -> list[tuple[int, int]]:
    sizes = []
    for part in options.text("validation_resolution", "768x512").replace(" ", "").split(","):
        match = _SIZE.fullmatch(part)
        if match:
            sizes.append((int(match[1]), int(match[2])))
        elif part.isdigit():
            sizes.append((int(part), int(part)))
        else:
            raise LTX2Error(f"{options.source}: validation_resolution has {part!r}; write WxH, such as 768x512, or several with commas.")
    return sizes


def _library(options: Options, folder: Path) -> dict[str, str]:
    name = options.text("user_prompt_library")
    if not name:
        return {}
    path = folder / Path(name).expanduser()
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        prompts = {str(k): v["prompt"] if isinstance(v, Mapping) else v for k, v in raw.items()}
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise LTX2Error(f"The prompt library {path} cannot be read ({error}); give an object of names and prompts.") from error
    if not all(isinstance(p, str) for p in prompts.values()):
        raise LTX2Error(f"The prompt library {path} holds something else than text; give names and prompts.")
    return prompts


def _file_name(name: str, size: tuple[int, int], sizes: list, number: int, count: int) -> str:
    plain = re.sub(r"[^\w.-]+", "_", name)
    return plain + (f"_{size[0]}x{size[1]}" if len(sizes) > 1 else "") + (f"_{number + 1}" if count > 1 else "")


def _settings(options: Options, framerate: float) -> dict:
    settings: dict[str, object] = {"frame_rate": framerate}
    for key, name in _SETTINGS.items():
        value = (options.whole if key in _WHOLE else options.number)(key, _DEFAULTS.get(key))
        if value is not None:
            settings[name] = value
        if key in _DEFAULTS:
            options.default(key, _DEFAULTS[key], f"samples.settings.{name}")
        options.honoured(key, f"samples.settings.{name}") if value is not None else options.idle(key, "it is empty")
    return settings


def _inputs(options: Options, folder: Path) -> list[dict]:
    """Pictures to begin with."""
    raw = options.read("validation_input", as_data) or []
    if not isinstance(raw, list) or not all(isinstance(r, Mapping) and "path" in r for r in raw):
        raise LTX2Error(f"{options.source}: validation_input must be a list of objects with path, prompt and shortname.")
    found = []
    for given in raw:
        path = Path(str(given["path"])).expanduser()
        prompt = {"prompt": given["prompt"]} if given.get("prompt") else {}
        found.append({"image": str(folder / path), "name": str(given.get("shortname") or path.stem), **prompt})
    return found


def read_validation(options: Options, run: dict, folder: Path, framerate: float) -> None:
    """``run["samples"]``: one video for each prompt, size, and picture."""
    settings, sizes, count = _settings(options, framerate), _sizes(options), options.whole("num_validation_images", 1)
    prompt, library = options.text("validation_prompt"), _library(options, folder)
    jobs = [{"name": "validation", "prompt": prompt}] if prompt else []
    jobs += [{"name": name, "prompt": text} for name, text in library.items()]
    jobs += [{"prompt": prompt, **job} for job in _inputs(options, folder)]
    negative = options.text("validation_negative_prompt", "blurry, cropped, ugly")
    strength = options.number("validation_lycoris_strength", 1.0) if run["lora"].get("kind") in ("lokr", "loha") else 1.0
    run["samples"] = [
        {**job, "name": _file_name(job["name"], size, sizes, i, count), "negative": negative, "strength": strength,
         "settings": {**settings, "width": size[0], "height": size[1], **({"seed": settings.get("seed", 0) + i} if count > 1 else {})}}
        for job in jobs for size in sizes for i in range(count)
    ]  # fmt: skip
    for key, where in (("validation_prompt", "samples.prompt"), ("validation_negative_prompt", "samples.negative"), ("user_prompt_library", "samples"), ("validation_input", "samples.image"),
                       ("validation_resolution", "samples.settings.width"), ("num_validation_images", "samples"), ("validation_lycoris_strength", "samples.strength")):  # fmt: skip
        options.honoured(key, where)
    _rest(options)


def _rest(options: Options) -> None:
    options.mapped("validation_prompt_library", "samples", "write its prompts as samples, or use user_prompt_library", loss=options.text("validation_prompt_library").lower() not in ("", "false", "0"))
    using = options.flag("validation_using_datasets")
    options.idle("validation_using_datasets", "give the picture as a sample's image, or the sound as its sound" if using else "it is off", loss=using)
    options.mapped("eval_dataset_id", "validation_dataset", "the dataset that is held out")
    audio = options.number("validation_audio_only", 0.0) if options.text("validation_audio_only").lower() not in ("false", "true") else float(options.flag("validation_audio_only"))
    options.idle("validation_audio_only", "a video carries the sound", loss=bool(audio))
    mode = options.text("ltx2_validation_pipeline_mode", "trained-stage")
    options.idle("ltx2_validation_pipeline_mode", "videos are made at their own size", loss=mode != "trained-stage")
    given = any(options.read(k, lambda v: v) for k in ("validation_adapter_path", "validation_adapter_config"))
    for key in _ADAPTERS:
        named = key in ("validation_adapter_path", "validation_adapter_config") and given
        options.idle(key, "wire Load Adapter nodes for other adapters" if given else "no other adapter is named", loss=named)
