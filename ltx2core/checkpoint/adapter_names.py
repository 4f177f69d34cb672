"""The three namings of adapter files: the original's, diffusers' and kohya's, read and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from .adapter_layers import MAGNITUDE_VECTOR, NAMES
from .modules import linear_modules, to_diffusers, to_original

PREFIX = "diffusion_model."
KOHYA = "lora_unet_"
NAMINGS = ("original", "diffusers", "kohya")
# More blocks than any member of the family has; the table is names only.
_MOST_LAYERS = 64
# Other names of a LoRA's two matrices and a DoRA's magnitudes.
_ALIASES = {"lora_down.weight": "lora_A.weight", "lora_A.default.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight", "lora_B.default.weight": "lora_B.weight",
            f"{MAGNITUDE_VECTOR}.weight": MAGNITUDE_VECTOR, f"{MAGNITUDE_VECTOR}.default.weight": MAGNITUDE_VECTOR}  # fmt: skip
_ENDINGS = {**{n: n for n in NAMES}, **_ALIASES, "alpha": "alpha"}
_KOHYA_TENSORS = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}


def split_key(key: str) -> tuple[str, str] | None:
    """(module part, tensor's name) of a key; None for a key that is no part of an adapter."""
    for ending, name in _ENDINGS.items():
        if key.endswith("." + ending):
            return key.removesuffix("." + ending), name
    return None


@lru_cache(maxsize=1)
def _kohya_names() -> Mapping[str, str]:
    """Underscored names, of original and diffusers spelling, to diffusers modules."""
    names = {}
    for module in linear_modules(_MOST_LAYERS):
        ours = to_diffusers(module)
        names[module.replace(".", "_")] = names[ours.replace(".", "_")] = ours
    return names


# Layers that finish the text's features, before sampling; prompts are encoded without adapters.
_TEXT_LAYERS = ("video_embeddings_connector", "audio_embeddings_connector", "text_embedding_projection")


def is_text_layer(module: str) -> bool:
    """Whether a module of an adapter lies in the text connectors and not in the transformer."""
    return module.startswith(_TEXT_LAYERS)


def module_name(raw: str) -> str | None:
    """Diffusers module name of a module as any of the three namings writes it; None when no naming fits."""
    if raw.startswith(KOHYA):
        rest = raw.removeprefix(KOHYA)
        return rest if is_text_layer(rest) else _kohya_names().get(rest)
    for prefix in (PREFIX, "model.diffusion_model.", "transformer.", "base_model.model."):
        raw = raw.removeprefix(prefix)
    return to_diffusers(raw)


def naming_of(key: str) -> str:
    """Which of ``NAMINGS`` a key is written in; ``bare`` when it has no prefix that tells."""
    for naming, prefixes in (("kohya", (KOHYA,)), ("original", (PREFIX, "model.diffusion_model.")), ("diffusers", ("transformer.", "base_model.model."))):
        if key.startswith(prefixes):
            return naming
    return "bare"


# naming -> how it writes (diffusers module, tensor's name).
WRITERS: Mapping[str, Callable[[str, str], str]] = {
    "original": lambda module, name: f"{PREFIX}{to_original(module)}.{name}",
    "diffusers": lambda module, name: f"transformer.{module}.{name}",
    "kohya": lambda module, name: f"{KOHYA}{to_original(module).replace('.', '_')}.{_KOHYA_TENSORS.get(name, name)}",
}
