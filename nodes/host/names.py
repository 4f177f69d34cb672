"""What the host's model folders hold, for the lists in the nodes."""

from __future__ import annotations

from pathlib import Path

import folder_paths


def checkpoints() -> list[str]:
    return _files("checkpoints")


def loras() -> list[str]:
    return _files("loras")


def latent_upscalers() -> list[str]:
    """Empty on hosts from before such models."""
    return _files("latent_upscale_models") if "latent_upscale_models" in folder_paths.folder_names_and_paths else []


def text_encoders() -> list[str]:
    """Single files, and folders that hold a Hugging Face model (a config.json and safetensors)."""
    folders = {
        str(config.parent.relative_to(root)).replace("\\", "/")
        for root in map(Path, folder_paths.get_folder_paths("text_encoders"))
        if root.is_dir()
        for config in root.glob("**/config.json")
    }
    return sorted(folders) + [f for f in _files("text_encoders") if str(Path(f).parent).replace("\\", "/") not in folders]


def _files(kind: str) -> list[str]:
    return [f for f in folder_paths.get_filename_list(kind) if f.endswith(".safetensors")]
