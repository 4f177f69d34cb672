"""Presets: every value is a setting that exists, has a source, and does what the preset says of itself."""

import json
import re

import pytest

from ltx2core.cli import main
from ltx2core.errors import LTX2Error
from ltx2core.presets import NAMES, preset
from ltx2core.presets.reading import Value
from ltx2core.train.targets import choose, preset_modules

# A file, an issue or pull request, or a page: something that can be looked up.
FINDABLE = re.compile(r"\.yaml|\.md\b|examples/|issue \d+|pull request \d+|fal\.ai, |huggingface\.co/")


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_accepted_and_are_the_preset_s(name):
    run = preset(name).config()
    for given in preset(name).values:
        found = run
        for part in given.setting.split("."):
            found = getattr(found, part)
        assert found == given.value, given.setting


@pytest.mark.parametrize("name", NAMES)
def test_every_value_and_every_advice_can_be_looked_up(name):
    chosen = preset(name)
    sources = [v.source for v in chosen.values] + [a.source for a in chosen.advice]
    assert not [s for s in sources if not FINDABLE.search(s)]
    assert {"lora.rank", "lora.targets", "train.steps", "train.learning_rate"} <= {v.setting for v in chosen.values}
    assert all(v.source in chosen.report() and v.setting in chosen.report() for v in chosen.values)


def test_no_value_without_a_source():
    with pytest.raises(LTX2Error, match="train.steps has no source"):
        Value("train.steps", 1000, " ")


def test_no_two_presets_are_the_same():
    runs = {name: preset(name).config() for name in NAMES}
    assert len({json.dumps(run.to_dict(), sort_keys=True) for run in runs.values()}) == len(NAMES)


@pytest.mark.parametrize("name", ["style", "motion"])
def test_sound_is_untouched_where_that_is_said(name):
    run = preset(name).config()
    modules = choose(run.lora.targets, layers=2, has_audio=True).modules
    assert "The sound stays" in preset(name).describes and run.train.audio_weight == 0
    assert modules and not [m for m in modules if "audio" in m]


def test_a_voice_trains_sound_alone():
    run = preset("voice").config()
    modules = choose(run.lora.targets, layers=2, has_audio=True, audio_only=True).modules
    assert run.train.audio_only and all(".audio_attn" in m or ".audio_ff" in m for m in modules)
    assert set(modules) == set(preset_modules("audio_only", 2))


def test_a_subject_has_picture_and_sound():
    modules = choose(preset("subject").config().lora.targets, layers=2, has_audio=True).modules
    assert {m.split(".")[2] for m in modules} >= {"attn1", "attn2", "audio_attn1", "audio_attn2"}


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(LTX2Error, match="did you mean 'subject'"):
        preset("subjekt")


def test_the_command_gives_a_piece_of_a_run_file(capsys):
    assert not main(["presets", "voice", "--json"])
    assert json.loads(capsys.readouterr().out) == preset("voice").to_dict()
    assert not main(["presets"])
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == list(NAMES)
