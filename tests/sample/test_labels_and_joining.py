"""Labels stay in their boxes in every script; a clip and its extension become one."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform
from ltx2core.sample.grid import background, plan_layout, wrapped
from ltx2core.sample.join import join_frames, join_sound

TEXTS = ["base", "a long label of many words that cannot stand in one line at all", "snake_case_names_without_any_space_in_them" * 3, "青い空と白い雲の下で犬が走る" * 4, "Ünïcödé ж λ", ""]


@pytest.mark.parametrize("text", TEXTS)
def test_lines_fit_and_nothing_is_lost(text):
    draw, font = ImageDraw.Draw(Image.new("RGB", (10, 10))), ImageFont.load_default(14)
    lines = wrapped(text, 90, font, draw)
    assert all(draw.textlength(line, font=font) <= 90 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("text", TEXTS)
def test_labels_stay_in_their_boxes(text):
    layout, _ = plan_layout((96, 64), 2, 2)
    picture = np.asarray(background(layout, ["", text], [text, ""])).astype(int)
    inked = np.abs(picture - picture[-1, -1]).sum(-1) > 0
    right, down = layout.place(1, 0)[0], layout.place(0, 1)[1]
    inked[: layout.top, right:] = False
    inked[layout.top : down, : layout.left] = False
    assert not inked.any()


def test_extension_follows_without_the_frames_that_both_show():
    numbers = torch.arange(12)[:, None, None, None].expand(-1, 2, 2, 3)
    before, after = numbers[:7], numbers[4:]  # frames 4, 5, 6 are in both
    assert join_frames(before, after, 3)[:, 0, 0, 0].tolist() == list(range(12))


def test_sounds_meet_at_the_cut():
    time = torch.arange(24000 * 2) / 24000
    whole = torch.sin(2 * torch.pi * 200 * time).repeat(2, 1)
    before, after = Waveform(whole[:, :24000], 24000), Waveform(whole[:, 12000:], 24000)
    joined = join_sound(before, after, 0.5, 1.0)
    assert joined.rate == 24000 and torch.equal(joined.samples, whole)
    short = Waveform(whole[:, :20000], 24000)
    assert join_sound(short, after, 0.5, 1.0).seconds == 2.0  # filled up, so that the rest stays in step
    assert join_sound(Waveform(whole[:1, :24000], 24000), Waveform(torch.zeros(2, 72000), 48000), 0.5, 1.0).rate == 48000


def test_clips_that_cannot_be_joined():
    with pytest.raises(LTX2Error, match="is 3x2 and its extension 2x2"):
        join_frames(torch.zeros(2, 2, 3, 3), torch.zeros(2, 2, 2, 3), 1)
    with pytest.raises(LTX2Error, match="5 frames are said to be kept and the extension has 5"):
        join_frames(torch.zeros(2, 2, 2, 3), torch.zeros(5, 2, 2, 3), 5)
