"""Single pictures: loading, and fitting to a size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import LTX2Error

# EXIF orientation -> what shows the picture upright (Exif 2.32, tag 0x0112).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_SWAPPED = (5, 6, 7, 8)  # those that exchange the sides
_ORIENTATION = 0x0112


def cover(image: Image.Image, size: tuple[int, int], centre: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    """Resized (antialiased) and cropped to ``size`` = (width, height) without changing proportions.

    Args:
        centre: which part is kept when the proportions differ: (0, 0) is the left top corner, (1, 1) the right bottom one.
    """
    return ImageOps.fit(image, size, method=Image.Resampling.LANCZOS, centering=centre)


def _unreadable(path: str | os.PathLike, error: Exception) -> LTX2Error:
    why = "its format is unknown" if isinstance(error, UnidentifiedImageError) else (str(error).splitlines() or [type(error).__name__])[0]
    return LTX2Error(f"{Path(path).name} is no picture that can be read ({why}); save it again as PNG or JPEG.")


def _check_there(path: str | os.PathLike) -> None:
    if not Path(path).is_file():
        raise LTX2Error(f"There is no file {path}; check the path.")


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) as shown, from the header alone.

    Raises:
        LTX2Error: not a picture, or one so large that it may be an attack.
    """
    _check_there(path)
    try:
        with Image.open(path) as file:
            turned = file.getexif().get(_ORIENTATION) in _SWAPPED
            return (file.height, file.width) if turned else (file.width, file.height)
    except Exception as error:  # Pillow's parsers raise many kinds at broken bytes: struct.error at a damaged EXIF, RuntimeError from AVIF
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
        LTX2Error: no such file, or not a picture.
    """
    _check_there(path)
    try:
        with Image.open(path) as file:
            # ImageOps.exif_transpose writes all tags anew too, and a damaged one stops it.
            turn = _UPRIGHT.get(file.getexif().get(_ORIENTATION))
            image = _eight_bits(file if turn is None else file.transpose(turn))
    except Exception as error:  # see image_size
        raise _unreadable(path, error) from error
    return torch.from_numpy(np.array(cover(image, size, centre) if size else image))[None]
