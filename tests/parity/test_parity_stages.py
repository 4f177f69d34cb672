"""Reference videos, the latent upscaler and the second stage against the official code."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from official_stage_cases import FRAMES, GUIDE_CASES, HEIGHT, KERNEL, REFERENCE_CASES, REFINE_CASES, UPSCALERS, WIDTH, inputs, sound, text
from official_weights import fill
from safetensors.torch import save_file

from ltx2core.models.latents import unpack_audio, unpack_video
from ltx2core.models.upsampler import open_upsampler, upsample
from ltx2core.sample.conditions import Keyframe, audio_state, video_state
from ltx2core.sample.guidance import Guidance
from ltx2core.sample.guides import Guide, with_guides
from ltx2core.sample.loop import Denoiser, run_loop
from ltx2core.sample.reference import with_reference, without_reference
from ltx2core.sample.settings import SampleSettings
from ltx2core.sample.sigmas import DISTILLED, SECOND_STAGE
from ltx2core.sample.two_stage import restart
from ltx2core.text.features import TextFeatures
from ltx2core.train.reference import ReferenceScale

SETTINGS = SampleSettings(WIDTH * 32, HEIGHT * 32, (FRAMES - 1) * 8 + 1, 25.0)


@pytest.fixture(scope="module")
def run(component):
    def denoise(video, audio, sigmas, cfg=1.0):
        positive, negative = (TextFeatures(text(f"{p}video"), text(f"{p}audio")) for p in ("", "negative "))
        denoiser = Denoiser(component("transformer"), positive, negative, Guidance(cfg), Guidance(cfg), (0,), "official")
        with torch.no_grad():
            return run_loop(denoiser, video, audio, torch.tensor(sigmas))

    return denoise


@pytest.mark.parametrize("case", REFERENCE_CASES, ids=lambda c: c.name)
def test_sampling_with_a_reference(case, run, close):
    keyframes = (Keyframe(inputs("first frame", (1, HEIGHT, WIDTH))),) if case.first_frame else ()
    video, audio = video_state(SETTINGS, inputs("noise"), keyframes), audio_state(sound("noise"))
    reference, noise = (inputs(f"{kind} {case.name}", case.cells) for kind in ("reference", "reference noise"))
    video = with_reference(video, reference, noise, 25.0, ReferenceScale(case.spatial, case.temporal), case.strength)
    video, audio = run(video, audio, DISTILLED, case.cfg)
    video = without_reference(video, case.cells)
    close(unpack_video(video.tokens, *SETTINGS.latent_size), f"reference.{case.name}.video", 1e-3)
    close(unpack_audio(audio.tokens), f"reference.{case.name}.audio", 1e-3)


@pytest.mark.parametrize("case", GUIDE_CASES, ids=lambda c: c.name)
def test_pictures_at_later_frames(case, run, close):
    cell = (1, HEIGHT, WIDTH)
    video = video_state(SETTINGS, inputs("noise"), (Keyframe(inputs("first frame", cell)),) if case.first_frame else ())
    audio, sigmas = audio_state(sound("noise")), SECOND_STAGE if case.refined else DISTILLED
    if case.refined:
        video, audio = restart(video, inputs("start"), inputs("noise"), sigmas[0]), restart(audio, sound("start"), sound("noise"), sigmas[0])
    guides = [Guide(inputs(f"guide {frame}", cell), frame, strength) for frame, strength in case.guides]
    noise = torch.cat([inputs(f"guide noise {frame}", cell) for frame, _ in case.guides], dim=2)
    video, audio = run(with_guides(video, guides, noise, 25.0, sigmas[0]), audio, sigmas, case.cfg)
    close(unpack_video(video.tokens[:, : SETTINGS.tokens], *SETTINGS.latent_size), f"guided.{case.name}.video", 1e-3)
    close(unpack_audio(audio.tokens), f"guided.{case.name}.audio", 1e-3)


@pytest.mark.parametrize("case", REFINE_CASES, ids=lambda c: c.name)
def test_second_stage(case, run, close):
    first = None if case.first_frame is None else Keyframe(inputs("first frame", (1, HEIGHT, WIDTH)), 0, case.first_frame)
    video = restart(video_state(SETTINGS, inputs("noise"), (first,) if first else ()), inputs("start"), inputs("noise"), SECOND_STAGE[0])
    audio = audio_state(sound("noise"), sound("start")) if case.sound_held else restart(audio_state(sound("noise")), sound("start"), sound("noise"), SECOND_STAGE[0])
    video, audio = run(video, audio, SECOND_STAGE)
    close(unpack_video(video.tokens, *SETTINGS.latent_size), f"refined.{case.name}.video", 1e-3)
    close(unpack_audio(audio.tokens), f"refined.{case.name}.audio", 1e-3)


def upscaler_file(folder, name, shapes):
    """A file of the official names; the blur's kernel is that of the binomial coefficients 1 4 6 4 1."""
    weights = fill({f"{name}.{k}": s for k, s in shapes.items() if k != KERNEL})
    state = {k.removeprefix(f"{name}."): v for k, v in weights.items()}
    if KERNEL in shapes:
        row = torch.tensor([math.comb(4, i) for i in range(5)], dtype=torch.float32) / 16
        state[KERNEL] = (row[:, None] * row)[None, None]
    path = folder / f"{name}.safetensors"
    save_file(state, path, metadata={"config": json.dumps(UPSCALERS[name])})
    return path


@pytest.mark.parametrize("name", UPSCALERS)
def test_upscaler(name, component, close, tmp_path, pytestconfig):
    shapes = json.loads((pytestconfig.rootpath / "tests" / "fixtures" / "official_stages.json").read_text(encoding="utf-8"))[name]
    module = open_upsampler(upscaler_file(tmp_path, name, shapes)).load(torch.float32)
    with torch.no_grad():
        close(upsample(module, component("video_vae"), inputs("small", (3, 2, 3))), f"upscaled.{name}", 1e-4)


def test_the_comparison_can_fail(official):
    """The cases differ from one another, so that a wrong factor or strength would show."""
    names = SimpleNamespace(video=[f"reference.{c.name}.video" for c in REFERENCE_CASES], refined=[f"refined.{c.name}.video" for c in REFINE_CASES], guided=[f"guided.{c.name}.video" for c in GUIDE_CASES])
    for group in (names.video, names.refined, names.guided):
        for i, a in enumerate(group):
            assert all((official[a] - official[b]).abs().max() > 0.05 for b in group[i + 1 :])
