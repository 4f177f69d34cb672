"""Cutting and blending, with functions whose whole result is known."""

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.models.tiles import blended, ramps, spans


@pytest.mark.parametrize(("length", "size", "overlap"), [(29, 16, 2), (16, 16, 4), (3, 16, 4), (17, 16, 4), (100, 7, 6), (15, 14, 0), (28, 14, 0)])
def test_tiles_cover_everything_with_one_size_and_the_overlap(length, size, overlap):
    tiles = spans(length, size, overlap)
    assert tiles[0][0] == 0 and tiles[-1][1] == length
    assert {stop - start for start, stop in tiles} == {min(size, length)}
    for (_, stop), (start, _) in zip(tiles[:-1], tiles[1:], strict=True):
        assert stop - start >= overlap
    # One tile fewer would not cover it.
    assert len(tiles) == 1 or (len(tiles) - 1) * (size - overlap) + overlap < length


@pytest.mark.parametrize("overlap", [-1, 8, 9])
def test_an_overlap_that_cannot_move_on_is_refused(overlap):
    with pytest.raises(LTX2Error, match="overlap"):
        spans(20, 8, overlap)


def test_two_ramps_add_up_to_one():
    tiles = spans(12, 8, 4)
    total = torch.zeros(24)
    for (start, stop), weight in zip(tiles, ramps(tiles, 2), strict=True):
        total[start * 2 : stop * 2] += weight
    torch.testing.assert_close(total, torch.ones(24))


@pytest.mark.parametrize("overlap", [0, 1, 4, 5])
def test_a_pointwise_function_is_not_changed(overlap):
    source = torch.randn(2, 3, 4, 11, 19, generator=torch.Generator().manual_seed(0))
    seen = []

    def double(tile):
        seen.append(tile.shape[-2:])
        return (tile * 3 - 1).repeat_interleave(2, -1).repeat_interleave(2, -2)

    out = blended(double, source, (6, 7), (overlap, overlap), target_cell=2)
    torch.testing.assert_close(out, (source * 3 - 1).repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert set(seen) == {(6, 7)}


def test_down_scaling_function():
    source = torch.randn(1, 1, 12, 20, generator=torch.Generator().manual_seed(0))
    pool = torch.nn.AvgPool2d(4)
    torch.testing.assert_close(blended(pool, source, (2, 2), (1, 1), source_cell=4), pool(source))


def test_one_tile_is_handed_through():
    source = torch.randn(1, 1, 4, 4).bfloat16()
    assert blended(lambda t: t, source, (4, 8), (1, 1)) is source


def test_a_seam_is_a_ramp_between_the_two_tiles():
    values = iter([0.0, 1.0])
    out = blended(lambda t: torch.full_like(t, next(values)), torch.zeros(1, 12), (1, 8), (0, 4))
    torch.testing.assert_close(out[0], torch.tensor([0, 0, 0, 0, 0, 0.25, 0.75, 1, 1, 1, 1, 1]))
