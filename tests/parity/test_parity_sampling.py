"""Schedules, and eight whole steps with guidance, against the official code."""

import pytest
import torch
from official_cases import SAMPLING_CASES, SCHEDULES, STG_BLOCKS

from ltx2core.models.latents import unpack_audio, unpack_video
from ltx2core.sample.conditions import Keyframe, audio_state, video_state
from ltx2core.sample.guidance import Guidance
from ltx2core.sample.loop import Denoiser, run_loop
from ltx2core.sample.settings import SampleSettings
from ltx2core.sample.sigmas import DISTILLED, SECOND_STAGE, dynamic_shift
from ltx2core.text.features import TextFeatures


@pytest.mark.parametrize(("steps", "tokens"), SCHEDULES)
def test_schedule(steps, tokens, close):
    close(dynamic_shift(steps, *(() if tokens is None else (tokens,))), f"sigmas.{steps}.{tokens or 'default'}", 1e-5)


def test_fixed_lists(close):
    close(torch.tensor(DISTILLED), "sigmas.distilled", 0)
    close(torch.tensor(SECOND_STAGE), "sigmas.distilled_second_stage", 0)


@torch.no_grad()
@pytest.mark.parametrize("case", SAMPLING_CASES, ids=lambda c: c.name)
def test_eight_steps(case, cases, component, close):
    inputs = cases.sampling_inputs()
    settings = SampleSettings(cases.WIDTH * 32, cases.HEIGHT * 32, (cases.FRAMES - 1) * 8 + 1, cases.FRAME_RATE)
    keyframes = (Keyframe(inputs.first_frame, 0, case.strength),) if case.first_frame else ()
    video = video_state(settings, inputs.noise, keyframes)
    audio = audio_state(inputs.audio_noise, inputs.sound if case.sound_held else None)
    guidance = [Guidance(cfg, case.stg, case.modality, case.rescale) for cfg in (case.video_cfg, case.audio_cfg)]
    positive, negative = TextFeatures(inputs.text, inputs.audio_text), TextFeatures(inputs.negative_text, inputs.negative_audio_text)
    denoiser = Denoiser(component("transformer"), positive, negative, *guidance, STG_BLOCKS, "official")
    sigmas = torch.tensor(DISTILLED) if case.sigmas == "distilled" else dynamic_shift(8)
    video, audio = run_loop(denoiser, video, audio, sigmas)
    close(unpack_video(video.tokens, *settings.latent_size), f"sampling.{case.name}.video", 1e-3)
    close(unpack_audio(audio.tokens), f"sampling.{case.name}.audio", 1e-3)
