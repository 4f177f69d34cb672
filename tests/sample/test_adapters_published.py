"""The ready list: every name that a person is promised, and what the distilled one sets."""

import pytest

from ltx2core.errors import LTX2Error
from ltx2core.hub import split_name
from ltx2core.sample.published import DISTILLED_PRESET, NO_PRESET, PUBLISHED, preset_of, published, recognised
from ltx2core.sample.settings import SampleSettings
from ltx2core.sample.sigmas import schedule

IC = ("Canny-Control", "Depth-Control", "Detailer", "Pose-Control")
CAMERA = ("Dolly-In", "Dolly-Out", "Dolly-Left", "Dolly-Right", "Jib-Down", "Jib-Up", "Static")
REPOS = {f"LTX-2-19b-IC-LoRA-{n}" for n in IC} | {f"LTX-2-19b-LoRA-Camera-Control-{n}" for n in CAMERA} | {"LTX-2-19b-distilled-lora-384"}


def test_all_twelve_with_repository_and_file_in_lower_case():
    found = {split_name(p.hub_name) for p in PUBLISHED}
    assert found == {(f"Lightricks/{r}", f"{r.lower()}.safetensors") for r in REPOS} and len(PUBLISHED) == 12
    assert len({p.label for p in PUBLISHED}) == 12 and all(published(p.label) is p for p in PUBLISHED)


def test_ic_loras_say_what_the_reference_shows_and_cameras_what_to_write():
    for p in PUBLISHED:
        assert bool(p.reference) == ("IC-LoRA" in p.repo)
        assert p.strength == 1.0 and (p.prompt or p.preset is DISTILLED_PRESET)


def test_the_distilled_adapter_sets_guidance_one_eight_steps_and_its_sigmas():
    asked = SampleSettings(96, 64, 9, 25.0, steps=30, seed=7, video_cfg=5.0, audio_cfg=7.0, stg=1.0, modality=3.0, rescale=0.7)
    got = preset_of("LTX-2-19b-distilled-lora-384").apply(asked)
    assert (got.steps, got.video_cfg, got.audio_cfg, got.schedule) == (8, 1.0, 1.0, "distilled")
    sigmas = schedule(got.schedule, got.steps, got.tokens)
    assert sigmas.tolist() == pytest.approx([1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0])
    assert not any(g.needs_negative or g.needs_perturbed or g.needs_isolated for g in got.guidance())
    assert (got.width, got.height, got.frames, got.seed) == (96, 64, 9, 7)


def test_other_adapters_set_nothing():
    assert preset_of("ltx-2-19b-ic-lora-detailer") is preset_of("my own") is NO_PRESET
    assert NO_PRESET.apply(SampleSettings()) == SampleSettings()
    assert recognised("ltx-2-19b-ic-lora-detailer").label == "IC-LoRA Detailer" and recognised("my own") is None


def test_unknown_labels_are_refused():
    with pytest.raises(LTX2Error, match="Camera Static"):
        published("Camera Spin")
