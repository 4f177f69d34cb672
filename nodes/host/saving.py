"""Where the host's save nodes put files, and the graph that they keep inside them."""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import InputImpl, io, ui


def graph_tags(hidden) -> dict[str, str]:
    """``prompt``, ``workflow`` and what else the page sent, as JSON: what the host reads when a file is dropped on the canvas."""
    if args.disable_metadata:
        return {}
    tags = {name: json.dumps(value) for name, value in (hidden.extra_pnginfo or {}).items()}
    return tags if hidden.prompt is None else {**tags, "prompt": json.dumps(hidden.prompt)}


def next_name(prefix: str, suffix: str, width: int, height: int) -> Path:
    """The next free file of ``prefix`` in the output folder, numbered as the host numbers."""
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory(), width, height)
    return Path(folder) / f"{name}_{counter:05}_{suffix}"


def saved(path: Path) -> ui.SavedResult:
    """A file in the output folder, as the host's /view and its list of outputs name it."""
    place = path.resolve().relative_to(Path(folder_paths.get_output_directory()).resolve())
    return ui.SavedResult(place.name, "" if place.parent == Path() else place.parent.as_posix(), io.FolderType.output)


def shown(path: Path) -> ui.PreviewVideo:
    """A video in the output folder, under its node."""
    return ui.PreviewVideo([saved(path)])


def video_of(path: Path) -> InputImpl.VideoFromFile:
    return InputImpl.VideoFromFile(str(path))
