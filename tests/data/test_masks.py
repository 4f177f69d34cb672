"""Masks of clips: the same piece, size and crop as the clip, meaned over latent cells; what cannot be used is named."""

import numpy as np
import pytest
import torch
from PIL import Image

from ltx2core.data.masks import read_mask
from ltx2core.data.read import read_pictures
from ltx2core.data.scan import scan
from ltx2core.data.spec import DatasetSpec
from ltx2core.errors import LTX2Error
from ltx2core.preflight.clips import masks


def spec(folder, **values):
    return DatasetSpec.from_dict({"folder": str(folder), "width": 96, "height": 64, "frames": 17, "caption_strategy": "filename", **values})


@pytest.fixture
def folders(tmp_path):
    for name in ("clips", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path / "clips", tmp_path / "masks"


def by_hand(pictures):
    """[F', H/32, W/32] of uint8 [F, H, W, 3]: the first frame alone, then eight by eight."""
    pixels, found = pictures.double().numpy() / 255, []
    for frames in [slice(0, 1), *(slice(i, i + 8) for i in range(1, len(pixels), 8))]:
        found.append([[pixels[frames, y : y + 32, x : x + 32].mean() for x in range(0, pixels.shape[2], 32)] for y in range(0, pixels.shape[1], 32)])
    return torch.tensor(found)


def test_a_picture_holds_for_all_frames(folders, film):
    clips, where = folders
    film(clips / "a.mp4", 1, sound=None)
    drawn = np.random.default_rng(3).integers(0, 256, (64, 96)).astype(np.uint8)
    drawn[:32, :32], drawn[32:, 64:] = 255, 0
    Image.fromarray(drawn).save(where / "a.png")
    [clip] = scan(spec(clips, mask_folder=str(where))).clips
    cells = np.array([[drawn[y : y + 32, x : x + 32].mean() / 255 for x in (0, 32, 64)] for y in (0, 32)])
    found = read_mask(clip, False)
    assert found.shape == (3, 2, 3) and found.dtype == torch.float32 and found[0, 0, 0] == 1 and found[0, 1, 2] == 0
    assert all(np.allclose(frame, cells, atol=1e-6) for frame in found.numpy())
    assert torch.equal(read_mask(clip, True)[1], torch.tensor((cells >= 0.5).astype(np.float32)))


@pytest.mark.parametrize("values", [{"windows": "all"}, {"windows": "last"}, {"bucket_strategy": "fixed", "width": 64, "crop": "random", "seed": 2}])
def test_a_film_is_cut_as_its_clip_is(folders, film, values):
    """A mask that is the clip itself gives the means of the clip's own pictures."""
    clips, where = folders
    for place in folders:
        film(place / "a.mp4", 2, sound=None, scene=0.3)
    index = scan(spec(clips, mask_folder=str(where), **values))
    assert len(index.clips) == (2 if values.get("windows") == "all" else 1)
    for clip in index.clips:
        found = read_mask(clip, False)
        assert torch.allclose(found.double(), by_hand(read_pictures(clip)), atol=1e-6) and found.std() > 0.02


def test_a_mask_of_another_size_lies_over_the_same_places(folders, film):
    clips, where = folders
    film(clips / "a.mp4", 1, sound=None)
    levels = np.array([[0, 128, 255], [255, 64, 0]], np.uint8)
    Image.fromarray(levels.repeat(96, 0).repeat(96, 1)).save(where / "a.png")
    [clip] = scan(spec(clips, mask_folder=str(where))).clips
    assert np.allclose(read_mask(clip, False)[0].numpy(), levels / 255, atol=0.02)


def test_masks_in_a_folder_inside_are_no_clips(tmp_path, film):
    (tmp_path / "masks" / "more").mkdir(parents=True)
    (tmp_path / "more").mkdir()
    for place in ("a", "more/b"):
        film(tmp_path / f"{place}.mp4", 1, sound=None)
        Image.new("L", (96, 64), 255).save(tmp_path / "masks" / f"{place}.png")
    index = scan(spec(tmp_path, mask_folder=str(tmp_path / "masks"), recursive=True))
    assert {c.caption: c.mask for c in index.clips} == {n: str(tmp_path / "masks" / f"{p}.png") for n, p in (("a", "a"), ("b", "more/b"))} and not index.messages


def test_clips_without_a_usable_mask_are_named_and_trained_whole(folders, film):
    clips, where = folders
    for name in ("good", "none", "wide", "short", "broken"):
        film(clips / f"{name}.mp4", 1.4, sound=None)
    Image.new("L", (96, 64), 255).save(where / "good.png")
    Image.new("L", (192, 64), 255).save(where / "wide.png")
    film(where / "short.mp4", 0.5, sound=None)
    (where / "broken.png").write_bytes(b"no picture")
    Image.new("L", (96, 64)).save(where / "nobody.png")
    index = scan(spec(clips, mask_folder=str(where)))
    assert {c.caption for c in index.clips} == {"good", "none", "wide", "short", "broken"} and [c.caption for c in index.clips if c.mask] == ["good"]
    said = "\n".join(index.messages)
    assert "1 clips found no mask of their name" in said and "trained without one: none.mp4" in said and "nobody.png" in said
    assert "The mask wide.png cannot be used: it is 192x64 and the clip 96x64" in said and "wide.mp4 is trained without it" in said
    assert "The mask broken.png cannot be used" in said and "behind their mask's end" in said and "short.mp4" in said
    count, missing = masks(index)
    assert "1 clip " in count.text and missing.files == ("broken.mp4", "none.mp4", "short.mp4", "wide.mp4")


def test_masks_where_they_mean_nothing(folders, film):
    clips, where = folders
    film(clips / "a.mp4", 1, sound=None)
    with pytest.raises(LTX2Error, match="No masks were found in .*leave mask_folder empty"):
        scan(spec(clips, mask_folder=str(where)))
    with pytest.raises(LTX2Error, match="mask_folder .* dataset_type audio"):
        spec(clips, mask_folder=str(where), dataset_type="audio")
    with pytest.raises(LTX2Error, match="mask_type is 'black'; choose one of weight, binary"):
        spec(clips, mask_folder=str(where), mask_type="black")
