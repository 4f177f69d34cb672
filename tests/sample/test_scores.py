"""Scores against signals whose values are known."""

import math

import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel

from ltx2core.errors import LTX2Error
from ltx2core.media.audio import Waveform
from ltx2core.media.write import write_video
from ltx2core.sample.scores import in_words, load_picture_model, loudness, measure, motion


@pytest.mark.parametrize(("amplitude", "rate"), [(0.1, 24000), (0.5, 48000)])
def test_loudness_of_a_tone(amplitude, rate):
    """EBU R 128: a 997 Hz sine of peak a in both channels is at 20 log10(a) LUFS (in one channel 3 below)."""
    tone = amplitude * torch.sin(2 * math.pi * 997 * torch.arange(rate * 3) / rate)
    assert loudness(Waveform(tone.repeat(2, 1), rate)) == pytest.approx(20 * math.log10(amplitude), abs=0.1)
    assert loudness(Waveform(tone[None], rate)) == pytest.approx(20 * math.log10(amplitude) - 3, abs=0.15)


def test_no_loudness_of_silence_and_of_nothing():
    assert loudness(None) is loudness(Waveform(torch.zeros(2, 24000), 24000)) is loudness(Waveform(torch.ones(2, 100), 24000)) is None


def test_motion_is_the_mean_change():
    still = torch.full((5, 8, 8, 3), 90, dtype=torch.uint8)
    stripes = torch.zeros(5, 8, 8, 3, dtype=torch.uint8)
    stripes[1::2] = 51
    assert motion(still) == 0 and motion(still[:1]) == 0 and motion(stripes) == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("name", ["clip", "dino"])
def test_likeness(picture_models, name):
    model = load_picture_model(picture_models / name)
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.randint(0, 255, (6, 40, 60, 3), dtype=torch.uint8, generator=draw) for _ in range(2))
    assert model.similarity(a, a) == pytest.approx(1, abs=1e-5) and model.similarity(a, b) < 0.9999
    assert model.similarity(a, b) == pytest.approx(model.similarity(b, a)) and model.embedding(a).norm() == pytest.approx(1)


def test_clip_embedding_is_transformers_own(picture_models):
    model, picture = load_picture_model(picture_models / "clip"), torch.randint(0, 255, (1, 40, 60, 3), dtype=torch.uint8)
    theirs = CLIPModel.from_pretrained(picture_models / "clip")
    pixels = CLIPImageProcessor.from_pretrained(picture_models / "clip")(images=[Image.fromarray(picture[0].numpy())], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        vector = theirs.visual_projection(theirs.vision_model(pixel_values=pixels).pooler_output)[0]
    assert torch.nn.functional.cosine_similarity(vector, model.embedding(picture), dim=0) > 0.999


def test_missing_and_foreign_picture_models(tmp_path, picture_models):
    with pytest.raises(LTX2Error, match="no config.json"):
        load_picture_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "unheard_of"}', encoding="utf-8")
    with pytest.raises(LTX2Error, match="cannot be used to compare"):
        load_picture_model(tmp_path)


def test_measured_file(tmp_path):
    tone = 0.25 * torch.sin(2 * math.pi * 997 * torch.arange(24000) / 24000)
    frames = torch.zeros(25, 64, 64, 3, dtype=torch.uint8)
    frames[1::2] = 128
    path = write_video(tmp_path / "a.mp4", frames, 25.0, Waveform(tone.repeat(2, 1), 24000))
    scores = measure(path)
    assert scores["loudness_lufs"] == pytest.approx(20 * math.log10(0.25), abs=0.3)
    assert scores["motion"] == pytest.approx(128 / 255, abs=0.02)


def test_numbers_in_words():
    assert in_words({"loudness_lufs": -23.04, "motion": 0.0336, "similarity": 0.912}) == "-23.0 LUFS, motion 0.034, likeness 0.91"
    assert in_words({"loudness_lufs": None, "motion": 0.0}) == "motion 0.000" and in_words({}) == ""
