"""Every way of saving memory against the plain encode and decode."""

import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.models.conv_pieces import causal_convs, convs_in_pieces
from ltx2core.models.roll import encode_rolling
from ltx2core.models.tiles import spans
from ltx2core.models.vae_memory import Tiling, VaeMemory
from ltx2core.models.video import decode_video_latents, encode_video

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def vae(tiny_component):
    return tiny_component("video_vae")


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3)).clamp(-1, 1)


@pytest.fixture(scope="module")
def pixels():
    return noise(1, 3, 25, 32, 64)


@pytest.fixture(scope="module")
def plain(vae, pixels):
    with torch.no_grad():
        return encode_video(vae, pixels)


EXACT = {
    "patch_conv": VaeMemory(patch_conv=True, piece_bytes=2**16),
    "patch_conv a frame at a time": VaeMemory(patch_conv=True, piece_bytes=1),
    "temporal_roll": VaeMemory(temporal_roll=True),
    "both": VaeMemory(temporal_roll=True, patch_conv=True, piece_bytes=2**14),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_to_rounding(name, vae, pixels, plain):
    torch.testing.assert_close(encode_video(vae, pixels, EXACT[name]), plain, atol=2e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 9])
def test_short_clips_roll_too(frames, vae, pixels, plain):
    rolled = encode_video(vae, pixels[:, :, :frames], VaeMemory(temporal_roll=True))
    # The encoder is causal: the beginning of a longer clip has the same latents.
    torch.testing.assert_close(rolled, plain[:, :, : rolled.shape[2]], atol=2e-5, rtol=0)


def test_the_roll_holds_eight_frames_and_patch_conv_the_asked_bytes(vae, pixels):
    """What the layers were really given, seen from outside."""
    seen = {"frames": 0, "bytes": 0}

    def look(conv, args):
        seen["frames"] = max(seen["frames"], args[0].shape[2])
        seen["bytes"] = max(seen["bytes"], args[0].nbytes)

    hooks = [layer.conv.register_forward_pre_hook(look) for layer in causal_convs(vae.encoder)]
    peaks = {}
    for name, memory in {"plain": VaeMemory(), **EXACT}.items():
        seen.update(frames=0, bytes=0)
        encode_video(vae, pixels, memory)
        peaks[name] = dict(seen)
    for hook in hooks:
        hook.remove()
    assert peaks["plain"]["frames"] == 25 + 1 + 2  # the doubled first frame, and the kernel's two
    assert peaks["temporal_roll"]["frames"] == 8 + 1 + 2
    assert peaks["patch_conv a frame at a time"]["frames"] == 3
    frame = 128 * 8 * 16 * 4
    assert peaks["patch_conv"]["bytes"] <= max(2**16, 3 * frame) < peaks["plain"]["bytes"]
    assert peaks["both"]["bytes"] < peaks["temporal_roll"]["bytes"] < peaks["plain"]["bytes"]


def test_only_this_vae_is_changed_and_only_meanwhile(vae):
    convs = causal_convs(vae.encoder)
    convs[0].forward = own = convs[0].forward  # a host's hook
    with pytest.raises(ZeroDivisionError), convs_in_pieces(vae.encoder):
        assert "forward" in convs[1].__dict__ and convs[0].forward is not own
        assert not any("forward" in c.__dict__ for c in causal_convs(vae.decoder))
        raise ZeroDivisionError
    assert convs[0].forward is own
    del convs[0].forward
    assert not any("forward" in c.__dict__ for c in convs)


def test_slicing_and_batches(vae):
    clips = noise(5, 3, 1, 32, 32)
    sizes = []
    hook = vae.encoder.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    results = {}
    for name, memory in {"whole": VaeMemory(batch_size=8), "pairs": VaeMemory(batch_size=2), "slicing": VaeMemory(slicing=True)}.items():
        sizes.clear()
        results[name] = encode_video(vae, clips, memory), list(sizes)
    hook.remove()
    assert [s for _, s in results.values()] == [[5], [2, 2, 1], [1] * 5]
    for latents, _ in results.values():
        torch.testing.assert_close(latents, results["whole"][0], atol=2e-5, rtol=0)


def reach(encoder):
    """Pixels beyond a latent cell's own 32 that it depends on, on each side: kernels and strides of the layers added up."""
    strides = {m.conv: m.stride[2] for m in encoder.modules() if hasattr(m, "group_size")}
    cell, total = encoder.patch_size, 0
    for conv in causal_convs(encoder):
        total += cell * (conv.kernel_size[2] // 2)
        cell *= strides.get(conv, 1)
    assert cell == 32
    return total


WIDE = 40  # cells


@pytest.fixture(scope="module")
def wide(vae):
    with torch.no_grad():
        pixels = noise(1, 3, 1, 32, WIDE * 32)
        return pixels, encode_video(vae, pixels)


def test_the_reach_is_right(vae, wide):
    """A pixel farther away than the reach changes nothing, one within it does."""
    pixels, plain = wide
    changed = pixels.clone()
    changed[..., WIDE * 16] += 1.0  # the first pixel of the middle cell
    cells = (encode_video(vae, changed) != plain).flatten(0, 3).any(0).nonzero().flatten()
    bound = reach(vae.encoder)
    first, last = cells.min().item(), cells.max().item()
    middle = WIDE // 2
    assert (middle - first - 1) * 32 + 1 <= bound and (last - middle) * 32 <= bound
    assert last - first > 6


@pytest.mark.parametrize("overlap", [0, 4, 10])
def test_tiles_are_exact_farther_from_their_edge_than_the_reach(overlap, vae, wide):
    pixels, plain = wide
    size = (WIDE + overlap) // 2
    off = (encode_video(vae, pixels, VaeMemory(tiling=Tiling(size * 32, overlap * 32))) - plain).abs().amax((0, 1, 2, 3))
    margin = -(-reach(vae.encoder) // 32)
    edges = (WIDE - size, size)  # where the second tile begins and the first ends
    exact = [c for c in range(WIDE) if c + margin < edges[0] or c >= edges[1] + margin]
    assert len(exact) > 10
    assert off[exact].max() <= 2e-5
    assert off.max() > 1e-3  # and the seam is elsewhere


def test_more_overlap_is_nearer_to_the_plain_encode(vae, wide):
    pixels, plain = wide
    worst = []
    for overlap in (0, 4, 8, 16, 32):
        size = (WIDE + overlap) // 2
        worst.append((encode_video(vae, pixels, VaeMemory(tiling=Tiling(size * 32, overlap * 32))) - plain).abs().max().item())
    assert worst == sorted(worst, reverse=True) and worst[-1] < worst[0] / 100, worst


@pytest.mark.parametrize("setting", [{"size": 500}, {"overlap": 48}, {"size": 256, "overlap": 256}, {"size": 32, "overlap": 0}, {"overlap": -32}])
def test_tiles_that_do_not_fit_the_cells_are_refused(setting):
    with pytest.raises(LTX2Error, match="multiples of 32"):
        Tiling(**setting)


@pytest.mark.parametrize("shape", [(1, 3, 8, 32, 32), (1, 3, 9, 48, 32), (1, 3, 9, 32, 33)])
def test_sizes_that_the_vae_does_not_take_are_refused(shape, vae):
    with pytest.raises(LTX2Error, match="8k\\+1 frames"):
        encode_video(vae, torch.zeros(shape))


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_any_chunk_rolls(chunk, vae, pixels, plain):
    means = encode_rolling(vae.encoder, pixels, chunk)[:, :-1]
    torch.testing.assert_close(means, vae.encoder(pixels)[:, : means.shape[1]], atol=2e-5, rtol=0)


def test_an_encoder_that_looks_ahead_rolls(vae, pixels, monkeypatch):
    """Delays of both ends: not LTX-2's encoder, but the stages say that they can."""
    monkeypatch.setattr(vae.encoder, "is_causal", False)
    whole = vae.encoder(pixels, causal=False)
    torch.testing.assert_close(encode_rolling(vae.encoder, pixels)[:, :128], whole[:, :128], atol=2e-5, rtol=0)


def test_noise_in_the_layers_is_refused(vae, pixels, monkeypatch):
    monkeypatch.setattr(vae.encoder.mid_block.resnets[0], "per_channel_scale1", torch.zeros(128, 1, 1))
    with pytest.raises(LTX2Error, match="temporal roll off"):
        encode_rolling(vae.encoder, pixels)


@pytest.mark.parametrize("frames", [1, 2, 3, 14])
@pytest.mark.parametrize("name", EXACT)
def test_decoding_is_exact_to_rounding(name, frames, vae):
    latents = torch.randn(1, 128, frames, 2, 3, generator=torch.Generator().manual_seed(frames))
    whole = decode_video_latents(vae, latents)
    assert whole.shape == (1, 3, 8 * frames - 7, 64, 96)
    torch.testing.assert_close(decode_video_latents(vae, latents, memory=EXACT[name]), whole, atol=5e-5, rtol=0)


def test_a_rolled_decoder_never_holds_the_whole_clip(vae):
    """At the end every layer hands on what it had kept; the later layers must still get it in small pieces."""
    most = {}

    def look(conv, args):
        most[conv] = max(most.get(conv, 0), args[0].shape[2])

    convs = causal_convs(vae.decoder)
    hooks = [layer.conv.register_forward_pre_hook(look) for layer in convs]
    decode_video_latents(vae, torch.randn(1, 128, 30, 2, 2), memory=VaeMemory(temporal_roll=True))
    for hook in hooks:
        hook.remove()
    assert most[convs[-1].conv] <= 8 + 2 + 1 and max(most.values()) <= 8 + 3


@pytest.mark.parametrize("rows", [5, 9, 29])
def test_tiled_decoding_of_any_rest(rows, vae):
    """One row more than whole tiles: a tile of one row would have nothing to reflect. Far from the seams it is exact."""
    latents = torch.randn(1, 128, 1, rows, 2, generator=torch.Generator().manual_seed(rows))
    whole, tiled = (decode_video_latents(vae, latents, memory=VaeMemory(tiling=t)) for t in (None, Tiling(512, 0)))
    assert tiled.shape == whole.shape
    tiles = spans(rows, 16, 0)
    seams = {row for tile in tiles for row in tile} - {0, rows}
    far = [r for r in range(rows) if all(abs(r + 0.5 - s) > 7 for s in seams)]
    off = (tiled - whole).abs().amax((0, 1, 2, 4)).reshape(rows, 32).amax(1)
    assert far and off[far].max() <= 5e-5
    assert not seams or off.max() > 1e-2


def test_tiles_and_roll_together(vae):
    latents = torch.randn(2, 128, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    tiles = Tiling(96, 32)
    whole = decode_video_latents(vae, latents, memory=VaeMemory(tiling=tiles))
    both = decode_video_latents(vae, latents, memory=VaeMemory(tiling=tiles, temporal_roll=True, slicing=True))
    torch.testing.assert_close(both, whole, atol=5e-5, rtol=0)
