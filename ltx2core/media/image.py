"""Single pictures: loading, and fitting to a size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import LTX2Error

_BROKEN = (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError)
_SWAPPED = (5, 6, 7, 8)  # EXIF orientations that exchange the sides
_ORIENTATION = 0x0112


def cover(image: Image.Image, size: tuple[int, int], centre: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    """Resized (antialiased) and cropped to ``size`` = (width, height) without changing proportions.

    Args:
        centre: which part is kept when the proportions differ: (0, 0) is the left top corner, (1, 1) the right bottom one.
    """
    return ImageOps.fit(image, size, method=Image.Resampling.LANCZOS, centering=centre)


def _unreadable(path: str | os.PathLike, error: Exception) -> LTX2Error:
    why = "its format is unknown" if isinstance(error, UnidentifiedImageError) else str(error).splitlines()[0]
    return LTX2Error(f"{Path(path).name} is no picture that can be read ({why}); save it again as PNG or JPEG.")


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) as shown, from the header alone.

    Raises:
        LTX2Error: not a picture, or one so large that it may be an attack.
    """
    if not Path(path).is_file():
        raise LTX2Error(f"There is no file {path}; check the path.")
    try:
        with Image.open(path) as file:
            turned = file.getexif().get(_ORIENTATION) in _SWAPPED
            return (file.height, file.width) if turned else (file.width, file.height)
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey keeps its brightness (PIL's own conversion clips it); transparency becomes black."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray((np.asarray(image, dtype=np.float32) / 257).clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image.convert("RGB")


def load_image(path: str | os.PathLike, size: tuple[int, int] | None = None, centre: tuple[float, float] = (0.5, 0.5)) -> Tensor:
    """uint8 [1, H, W, 3]; transparency is laid over black, the camera's orientation applied.

    Raises:
        LTX2Error: not a picture.
    """
    try:
        with Image.open(path) as file:
            image = _eight_bits(ImageOps.exif_transpose(file))
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    return torch.from_numpy(np.array(cover(image, size, centre) if size else image))[None]
