"""Cuts a plane into overlapping tiles and blends what becomes of them. Knows no model."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor

from ..errors import LTX2Error


def spans(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Begin and end of tiles that cover ``length`` cells: all of one size, evenly spread, sharing at least ``overlap``.

    No tile is smaller than the others: a rest of one cell cannot be reflected at its border, and a small tile has
    little of the picture to go by.

    Raises:
        LTX2Error: the overlap leaves no room to move on.
    """
    if not 0 <= overlap < size:
        raise LTX2Error(f"A tile of {size} cells cannot overlap by {overlap}; the overlap must be at least 0 and less than the tile.")
    if length <= size:
        return [(0, length)]
    count = ceil((length - overlap) / (size - overlap))
    starts = [round(i * (length - size) / (count - 1)) for i in range(count)]
    return [(start, start + size) for start in starts]


def _rise(shared: int) -> Tensor:
    """0 to 1 over ``shared`` elements; its outer quarters are flat, because a tile is least right at its very edge."""
    flat = shared // 4
    slope = (torch.arange(shared - 2 * flat) + 0.5) / (shared - 2 * flat)
    return torch.cat([torch.zeros(flat), slope, torch.ones(flat)])


def ramps(tiles: list[tuple[int, int]], cell: int) -> list[Tensor]:
    """A weight an output element of each tile: 1 inside, falling where a neighbour covers it too; two neighbours add up to 1."""
    weights = []
    for i, (start, stop) in enumerate(tiles):
        weight = torch.ones((stop - start) * cell)
        if i > 0 and (shared := (tiles[i - 1][1] - start) * cell) > 0:
            weight[:shared] *= _rise(shared)
        if i + 1 < len(tiles) and (shared := (stop - tiles[i + 1][0]) * cell) > 0:
            weight[-shared:] *= _rise(shared).flip(0)
        weights.append(weight)
    return weights


def blended(
    function: Callable[[Tensor], Tensor], source: Tensor, size: tuple[int, int], overlap: tuple[int, int], *, source_cell: int = 1, target_cell: int = 1
) -> Tensor:
    """``function`` of ``source`` [..., H, W], made tile by tile and blended in float32.

    Args:
        function: maps a tile of n x m cells (``source_cell`` elements a side each) to one of as many cells, ``target_cell``
            elements a side.
        size: rows and columns of a tile, in cells.
        overlap: cells that neighbours share at least, in rows and columns.

    Returns:
        What ``function`` returns for one tile when the source is not larger than that; float32 otherwise, where its tiles lie.
    """
    height, width = source.shape[-2] // source_cell, source.shape[-1] // source_cell
    rows, columns = spans(height, size[0], overlap[0]), spans(width, size[1], overlap[1])
    if len(rows) == len(columns) == 1:
        return function(source)
    total = weights = None
    for (top, bottom), down in zip(rows, ramps(rows, target_cell), strict=True):
        for (left, right), across in zip(columns, ramps(columns, target_cell), strict=True):
            tile = function(source[..., top * source_cell : bottom * source_cell, left * source_cell : right * source_cell])
            if total is None:
                weights = torch.zeros(height * target_cell, width * target_cell, device=tile.device)
                total = torch.zeros(*tile.shape[:-2], *weights.shape, device=tile.device)
            weight = (down[:, None] * across).to(tile.device)
            where = (..., slice(top * target_cell, bottom * target_cell), slice(left * target_cell, right * target_cell))
            total[where] += tile.to(torch.float32, copy=True).mul_(weight)
            weights[where] += weight
    return total.div_(weights)
