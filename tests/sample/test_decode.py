"""Decoding by the memory that there is: which way is taken, what is said, and that the pictures stay the same."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.geometry import pixel_frames
from ltx2core.models.decode_plan import decode_ways
from ltx2core.models.vae_bytes import frames_working_bytes
from ltx2core.models.vae_memory import PLAIN, ROLLED, Tiling, VaeMemory
from ltx2core.models.video import decode_frames, decode_video_latents
from ltx2core.protocols import Room
from ltx2core.sample.decode import decode
from ltx2core.sample.loop import Latents

GIB = 2**30
CARD, CPU = torch.device("cuda"), torch.device("cpu")
LARGE = (121, 704, 1280)


@pytest.fixture(scope="module")
def vae(tiny_models):
    return tiny_models.component("video_vae")


def ways(vae, free, most=None, size=LARGE, device=CARD):
    return decode_ways(vae, *size, torch.bfloat16, device, Room(round(free * GIB), round((free if most is None else most) * GIB)))


def test_eight_gib_are_enough_without_seams(vae):
    """The 2.5 GiB that were measured (benchmarks/vae_memory.json) and what leaves the card beside them."""
    way = ways(vae, 8)[0]
    assert way.memory == ROLLED and way.working < 4 * GIB and not way.message


def test_length_costs_no_memory(vae):
    assert ways(vae, 8, size=(1025, 704, 1280))[0].working == ways(vae, 8)[0].working


@pytest.mark.parametrize(
    ("free", "most", "tile", "cut"),
    [(3.2, 3.2, None, False), (2.5, 2.5, None, True), (2.5, 40, None, True), (1.0, 40, None, False), (1.6, 1.6, 768, True), (1.1, 1.1, 512, True), (0.6, 0.6, 256, True)],
)
def test_the_fastest_way_that_fits(vae, free, most, tile, cut):
    """Nothing else leaves while a way without seams fits beside it; others leave before tiles are cut."""
    first, *rest = ways(vae, free, most)
    assert first.working <= most * GIB and first.memory.patch_conv == cut and first.memory.temporal_roll
    assert (first.memory.tiling and first.memory.tiling.size) == tile
    assert (f"tiles of {tile} pixels" in first.message) == (tile is not None)
    sizes = [w.working for w in (first, *rest)]
    assert sizes == sorted(sizes, reverse=True)


def test_weights_that_are_not_there_yet_need_room_too(vae):
    weights = sum(p.numel() * p.element_size() for p in vae.parameters()) / GIB
    need = frames_working_bytes(*LARGE, torch.bfloat16, ROLLED) / GIB
    assert ways(vae, need + weights + 1e-6)[0].memory == ROLLED and ways(vae, need + weights / 2)[0].memory != ROLLED


def test_too_little_is_said_and_tried(vae):
    (way,) = ways(vae, 0.3)
    assert way.memory.tiling.size == 256 and "needs about 0." in way.message and "0.3 GiB can be had" in way.message and "smaller picture" in way.message


def test_a_processor_decodes_at_once_where_it_can(vae):
    assert ways(vae, 64, device=CPU)[0].memory == PLAIN and ways(vae, 8, device=CPU)[0].memory == ROLLED


@pytest.mark.parametrize("memory", [PLAIN, ROLLED, VaeMemory(patch_conv=True, temporal_roll=True, piece_bytes=2**14), VaeMemory(tiling=Tiling(96, 32), temporal_roll=True), VaeMemory(tiling=Tiling(96, 32))])
@torch.no_grad()
def test_bytes_are_those_of_the_decoded_pixels(vae, memory):
    latents = torch.randn(1, 128, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    pixels = decode_video_latents(vae, latents, memory=memory)[0]
    expected = ((pixels.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 3, 0)
    frames = decode_frames(vae, latents, memory)
    assert frames.dtype == torch.uint8 and frames.shape == (pixel_frames(3), 128, 160, 3)
    assert (frames.float() - expected).abs().max() <= 0.51  # half a step, and sums in another order


class Small:
    """A residency whose device runs out of memory in tensors over ``limit`` elements, whatever it says is free."""

    def __init__(self, inner, limit, room):
        self.device, self._inner, self._limit, self._room = inner.device, inner, limit, room

    def _look(self, module, args):
        if args[0].numel() > self._limit:
            raise torch.OutOfMemoryError("out of memory")

    @contextmanager
    def use(self, module, working_bytes=0):
        hooks = [m.register_forward_pre_hook(self._look) for m in module.modules() if isinstance(m, torch.nn.Conv3d)]
        try:
            with self._inner.use(module, working_bytes):
                yield module
        finally:
            for hook in hooks:
                hook.remove()

    def release(self, module):
        self._inner.release(module)

    def room(self):
        return self._room


@pytest.fixture(scope="module")
def latents():
    draw = torch.Generator().manual_seed(2)
    return Latents(torch.randn(2, 128, 3, 9, 3, generator=draw), torch.randn(2, 8, 17, 16, generator=draw), 25.0)


@pytest.fixture(scope="module")
def whole(tiny_models, latents):
    from ltx2core.standalone import PlainResidency

    return decode(latents, tiny_models, residency=PlainResidency(CPU), tiled=False)


def test_a_way_that_did_not_fit_after_all_gives_way_to_a_smaller_one(tiny_models, services, latents, whole):
    rolled = 16 * 13 * 288 * 96 // 16  # more than any convolution of the stream is given, less than one of the whole clip
    clips = decode(latents, tiny_models, residency=Small(services["residency"], rolled, Room(64 * GIB, 64 * GIB)), reporter=services["reporter"])
    assert len(clips) == 2 and all((a.frames.int() - b.frames.int()).abs().max() <= 1 for a, b in zip(clips, whole, strict=True))


def test_tiles_are_said(tiny_models, services, latents, whole):
    """At a limit that only tiles of 256 pixels keep."""
    free = round(0.333 * GIB)
    most = free + sum(p.numel() * p.element_size() for p in tiny_models.component("video_vae").parameters())
    clips = decode(latents, tiny_models, residency=Small(services["residency"], 10**12, Room(free, most)), reporter=services["reporter"])
    assert sum("tiles of 256 pixels" in s for s in services["reporter"].said) == 1
    off = [(a.frames.int() - b.frames.int()).abs().float().mean() for a, b in zip(clips, whole, strict=True)]
    assert all(o < 8 for o in off) and clips[0].frames.shape == whole[0].frames.shape


@pytest.mark.parametrize(("tiled", "said"), [(None, "even in small pieces; close other programs"), (False, "set tiled to auto")])
def test_nothing_fits(tiny_models, services, latents, tiled, said):
    small = Small(services["residency"], 100, Room(64 * GIB, 64 * GIB))
    with pytest.raises(LTX2Error, match=said):
        decode(latents, tiny_models, residency=small, reporter=services["reporter"], tiled=tiled)


def test_given_pictures_need_no_decoder(tiny_models, services, latents):
    frames = torch.zeros(17, 64, 64, 3, dtype=torch.uint8)
    clips = decode(replace(latents, pictures=frames), tiny_models, residency=Small(services["residency"], 10**12, Room(0, 0)))
    assert all(torch.equal(c.frames, frames) for c in clips)
