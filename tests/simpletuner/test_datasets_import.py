"""multidatabackend.json: every key of a dataset, and the roles that datasets play."""

from pathlib import Path

import pytest

from ltx2core.data.spec import DatasetSpec
from ltx2core.errors import LTX2Error
from ltx2core.runfile import RunFile
from ltx2core.simpletuner.dataset_keys import AUDIO_KEYS, AUDIO_ROWS, DATASET_KEYS, DATASET_REASONS, DATASET_ROWS, TABLE_KEYS, TABLE_ROWS, VIDEO_KEYS, VIDEO_ROWS
from ltx2core.simpletuner.importer import import_config
from ltx2core.simpletuner.report import STATUSES
from ltx2core.strict import from_dict

HERE = Path("/data")
VIDEO = {"id": "v", "type": "local", "dataset_type": "video", "instance_data_dir": "clips", "caption_strategy": "textfile", "video": {"num_frames": 49, "min_frames": 9}}
SOUND = {"id": "a", "type": "local", "dataset_type": "audio", "instance_data_dir": "sounds", "caption_strategy": "textfile"}


def run_of(*backends, **config):
    return from_dict(RunFile, import_config({"max_train_steps": 10, **config}, backends, HERE).run, "run")


def spec_of(changes=None, video=None, audio=None, base=VIDEO, **config) -> DatasetSpec:
    raw = {**base, **(changes or {})}
    if video:
        raw["video"] = {**base.get("video", {}), **video}
    if audio:
        raw["audio"] = audio
    return run_of(raw, **config).specs[0]


SPECS = [
    ({"instance_data_dir": "clips"}, "folder", "/data/clips"), ({"instance_data_dir": "/abs/clips"}, "folder", "/abs/clips"), ({"id": "mine"}, "id", "mine"),
    ({"repeats": 9}, "repeats", 9), ({"train_batch_size": 2}, "batch_size", 2), ({"max_num_samples": 20}, "max_samples", 20),
    ({"minimum_aspect_ratio": 0.5}, "min_aspect_ratio", 0.5), ({"maximum_aspect_ratio": 2.0}, "max_aspect_ratio", 2.0), ({"seed": 3}, "seed", 3),
    ({"resolution": 480}, "width", 480), ({"resolution": 0.25, "resolution_type": "area"}, "height", 480), ({"resolution": 512, "resolution_type": "pixel"}, "width", 512),
    ({"minimum_image_size": 300}, "min_side", 300), ({"crop": True, "crop_aspect": "square"}, "bucket_strategy", "fixed"),
    ({"crop": True, "crop_aspect": "preserve"}, "bucket_strategy", "aspect_ratio"), ({"crop_style": "corner"}, "crop", "corner"), ({"crop": True}, "crop", "random"),
    ({"caption_strategy": "filename"}, "caption_strategy", "filename"), ({"disable_multiline_split": True}, "caption_lines", "whole"), ({}, "caption_lines", "each"),
    ({"caption_strategy": "instanceprompt", "instance_prompt": "a fox"}, "instance_prompt", "a fox"),
    ({"only_instance_prompt": True, "instance_prompt": "a fox"}, "caption_strategy", "instanceprompt"),
    ({"prepend_instance_prompt": True, "instance_prompt": "fx1"}, "trigger", "fx1"), ({"instance_prompt": "fx1"}, "trigger", ""),
    ({"caption_strategy": "parquet", "parquet": {"path": "t.parquet", "caption_column": "c"}}, "table_caption_column", "c"),
    ({"caption_strategy": "parquet", "parquet": {"path": "t.jsonl", "filename_column": "f"}}, "caption_strategy", "jsonl"),
    ({"caption_strategy": "parquet", "parquet": {"path": "t.parquet", "fallback_caption_column": "tags"}}, "table_fallback_column", "tags"),
    ({"caption_strategy": "parquet", "parquet": {"path": "t.parquet", "filename_column": "f"}}, "table_file_column", "f"),
    ({"caption_strategy": "csv", "csv_caption_column": "text"}, "table_caption_column", "text"), ({"caption_strategy": "csv", "csv_file": "t.csv"}, "caption_table", "t.csv"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "field", "value"), SPECS)
def test_a_dataset(changes, field, value):
    assert getattr(spec_of(changes), field) == value


VIDEOS = [
    ({"num_frames": 61}, "frames", 61), ({"min_frames": 17}, "min_frames", 17), ({"num_frames": 61, "min_frames": 61}, "min_frames", 57), ({"max_frames": 200}, "max_frames", 200),
    ({"frame_rate": 24}, "frame_rate", 24.0), ({"bucket_strategy": "resolution_frames", "frame_interval": 8}, "frame_interval", 8),
    ({"bucket_strategy": "resolution_frames"}, "bucket_strategy", "resolution_frames"), ({"frame_interval": 8}, "frame_interval", 0),
    ({"num_frames": 49, "min_frames": 119}, "min_frames", 113),
]  # fmt: skip


@pytest.mark.parametrize(("video", "field", "value"), VIDEOS)
def test_the_video_block(video, field, value):
    assert getattr(spec_of(video=video), field) == value


def test_a_square_crop_holds_for_every_way_of_counting_frames():
    square = spec_of({"crop": True, "crop_aspect": "square"}, video={"bucket_strategy": "resolution_frames", "frame_interval": 8})
    assert (square.bucket_strategy, square.frame_interval) == ("fixed", 8)
    assert spec_of({"crop": True, "crop_aspect": "square"}, video={"bucket_strategy": "aspect_ratio"}).bucket_strategy == "fixed"


def test_short_sounds_are_not_measured_by_the_frames_of_pictures():
    """A sound of a second is kept: only min_duration_seconds leaves sounds out."""
    assert spec_of(base=SOUND).min_frames == DatasetSpec("x").min_frames < 25
    assert spec_of(base=VIDEO, audio={"audio_only": True}).min_frames == DatasetSpec("x").min_frames


def test_a_dataset_that_is_never_drawn_is_left_out():
    run = run_of({**VIDEO, "probability": 0}, {**VIDEO, "id": "w", "probability": 1})
    assert [s.id for s in run.specs] == ["w"]


def test_frames_without_a_count_are_five_seconds():
    assert spec_of({"video": {}}, framerate=24).frames == 120


AUDIOS = [
    (VIDEO, {"auto_split": False}, "audio", False), (VIDEO, {"auto_split": True}, "audio", True), (VIDEO, {"allow_zero_audio": True}, "allow_zero_audio", True),
    (SOUND, {"duration_interval": 2.0}, "duration_interval", 2.0), (SOUND, {"min_duration_seconds": 1.5}, "min_seconds", 1.5), (SOUND, {"max_duration_seconds": 9}, "max_seconds", 9.0),
    (SOUND, {"truncation_mode": "end"}, "windows", "last"), (SOUND, {"truncation_mode": "random"}, "windows", "random"), (SOUND, {"truncation_mode": "beginning"}, "windows", "first"),
    (SOUND, {"audio_only": True, "channels": 2, "sample_rate": 16000}, "dataset_type", "audio"), (VIDEO, {"audio_only": True}, "dataset_type", "audio"),
]  # fmt: skip


@pytest.mark.parametrize(("base", "audio", "field", "value"), AUDIOS)
def test_the_audio_block(base, audio, field, value):
    assert getattr(spec_of(base=base, audio=audio), field) == value


def test_sound_alone_trains_sound_alone():
    assert run_of(SOUND).config.train.audio_only and not run_of(VIDEO).config.train.audio_only


def test_caption_shuffle():
    raw = {"enable": True, "count": 3, "seed": 5, "split_on": "period", "position_start": 1, "include_original": False}
    spec = spec_of({"caption_shuffle": raw})
    assert (spec.caption_shuffle.count, spec.caption_shuffle.split_on, spec.caption_shuffle.keep_first, spec.caption_shuffle.include_original, spec.seed) == (3, ".", 1, False, 5)
    assert spec_of({"caption_shuffle": {**raw, "enable": False}}).caption_shuffle is None


def test_an_offset_moves_the_noise_of_its_dataset():
    """u = sigmoid(scale * (n + offset)): the mean moves by scale * offset."""
    timesteps = run_of({**VIDEO, "timestep_sampling_offset": -0.4}, flow_sigmoid_scale=0.5).config.train.timesteps
    assert timesteps.offsets == ((VIDEO["id"], -0.2),)


def test_roles():
    image = {**VIDEO, "id": "i", "dataset_type": "image", "instance_data_dir": "stills", "probability": 0.25}
    reference = {**VIDEO, "id": "r", "dataset_type": "conditioning", "conditioning_type": "reference_strict", "instance_data_dir": "edges"}
    prior = {**VIDEO, "id": "p", "is_regularisation_data": True, "instance_data_dir": "prior"}
    held = {**VIDEO, "id": "h", "instance_data_dir": "held"}
    off = {**VIDEO, "id": "x", "disabled": True}
    run = run_of({**VIDEO, "conditioning_data": ["r"]}, image, reference, prior, held, off, eval_dataset_id="h")
    assert [(s.id, s.probability) for s in run.specs] == [("v", 1.0), ("i", 0.25)]
    assert run.references["id"] == "r" and run.regularisation["id"] == "p" and run.validation_dataset["id"] == "h"


def test_sound_of_another_dataset():
    run = run_of({**VIDEO, "s2v_datasets": ["a"]}, SOUND)
    assert len(run.specs) == 1 and run.specs[0].sound_folder == "/data/sounds"
    both = import_config({"max_train_steps": 10}, [{**VIDEO, "s2v_datasets": ["a", "b"]}, SOUND, {**SOUND, "id": "b"}], HERE)
    assert [e.key for e in both.report.losses] == ["s2v_datasets"], "only one folder is paired"
    with pytest.raises(LTX2Error, match="Two datasets have the id 'v'"):
        run_of(VIDEO, VIDEO)
    with pytest.raises(LTX2Error, match="no dataset of the file"):
        run_of({**VIDEO, "s2v_datasets": ["b"]}, SOUND)


@pytest.mark.parametrize("key", ["disabled", "disable"])
def test_a_dataset_that_is_switched_off_gives_nothing_to_others(key):
    off, b = {**SOUND, key: True}, {**SOUND, "id": "b", "instance_data_dir": "more"}
    with pytest.raises(LTX2Error, match="dataset v names a in s2v_datasets, which is switched off; set its disabled to false"):
        run_of({**VIDEO, "s2v_datasets": ["a"]}, off)
    assert run_of({**VIDEO, "s2v_datasets": ["a", "b"]}, off, b).specs[0].sound_folder == "/data/more"
    never_drawn = run_of({**VIDEO, "s2v_datasets": ["a"]}, {**SOUND, "probability": 0})
    assert never_drawn.specs[0].sound_folder == "/data/sounds", "probability 0 is not off: SimpleTuner pairs such sets itself"
    mask = {**VIDEO, "id": "m", "dataset_type": "conditioning", "conditioning_type": "mask", "instance_data_dir": "masks", key: True}
    with pytest.raises(LTX2Error, match="dataset v names m in conditioning_data, which is switched off"):
        run_of({**VIDEO, "conditioning_data": ["m"]}, mask)
    other = {**VIDEO, "id": "o", "instance_data_dir": "others"}
    assert [s.id for s in run_of(other, {**VIDEO, "s2v_datasets": ["a"], key: True}, off).specs] == ["o"], "a pair that is off as a whole"


def test_masks_of_another_dataset():
    """conditioning_type mask multiplies the loss, segmentation is 0 or 1; either dataset may name the other."""
    mask = {**VIDEO, "id": "m", "dataset_type": "conditioning", "conditioning_type": "mask", "instance_data_dir": "masks"}
    other = {**VIDEO, "id": "o", "instance_data_dir": "others"}
    binary = {**mask, "id": "s", "conditioning_type": "segmentation", "instance_data_dir": "shapes", "source_dataset_id": "o"}
    run = run_of({**VIDEO, "conditioning_data": "m"}, other, mask, binary)
    assert [(s.id, s.mask_folder, s.mask_type) for s in run.specs] == [("v", "/data/masks", "weight"), ("o", "/data/shapes", "binary")] and run.references is None
    assert [(s.mask_folder, s.mask_type) for s in run_of(VIDEO, mask).specs] == [("/data/masks", "weight")]
    report = import_config({"max_train_steps": 10, "masked_loss_probability": 0.5}, [VIDEO, {**binary, "source_dataset_id": "v"}], HERE).report
    assert {e.key for e in report.losses} == {"conditioning_type", "masked_loss_probability"}
    with pytest.raises(LTX2Error, match="has masks of m and s; keep one"):
        run_of({**VIDEO, "conditioning_data": ["m", "s"]}, other, mask, {**binary, "source_dataset_id": ""})
    with pytest.raises(LTX2Error, match="masks of dataset m belong to no dataset"):
        run_of(VIDEO, other, mask)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reapets": 3}, "did you mean 'repeats'"), ({"video": {"num_frame": 3}}, "did you mean 'num_frames'"), ({"audio": {"chanels": 1}}, "did you mean 'channels'"), ({"caption_shuffle": {"cuont": 1}}, "did you mean 'count'"),
        ({"type": "aws"}, "folders of this machine"), ({"dataset_type": "movie"}, "dataset_type"), ({"instance_data_dir": ""}, "instance_data_dir"),
        ({"caption_strategy": "huggingface"}, "caption_strategy"), ({"dataset_type": "conditioning", "conditioning_type": "controlnet"}, "conditioning_type"),
        ({"video": [1]}, "video must be an object"), ({"disabled": True}, "No dataset is left"), ({"resolution_type": "inch"}, "resolution_type"),
    ],
)
def test_what_cannot_be_done_is_said(changes, said):
    with pytest.raises(LTX2Error, match=said):
        run_of({**VIDEO, **changes})


def test_losses_of_a_dataset():
    def lost(**changes):
        return {e.key for e in import_config({"max_train_steps": 10}, [{**VIDEO, **changes}], HERE).report.losses}

    assert lost() == set()
    assert lost(start_epoch=1, end_epoch=None, crop_style="center") == set()
    assert lost(start_epoch=3) == {"start_epoch"} and lost(slider_strength=0.5) == {"slider_strength"} and lost(crop_style="face") == {"crop_style"}


def test_every_key_of_a_dataset_is_reported():
    special = {"type": "local", "dataset_type": "video", "instance_data_dir": "clips", "caption_strategy": "textfile", "conditioning_type": "reference_strict"}
    names = {*DATASET_KEYS, *DATASET_ROWS, *DATASET_REASONS} - {"video", "audio", "parquet"}
    raw = {**{name: special.get(name) for name in names}, "id": "v"}
    raw |= {"video": dict.fromkeys((*VIDEO_ROWS, *VIDEO_KEYS)), "audio": dict.fromkeys((*AUDIO_ROWS, *AUDIO_KEYS)), "parquet": dict.fromkeys((*TABLE_ROWS, *TABLE_KEYS))}
    entries = import_config({"max_train_steps": 10}, [raw], HERE).report.entries
    for source, keys in (("dataset v", raw), ("dataset v.video", raw["video"]), ("dataset v.audio", raw["audio"]), ("dataset v.parquet", raw["parquet"])):
        assert {e.key for e in entries if e.source == source} == set(keys)
    assert all(e.status in STATUSES and (e.note or e.where) for e in entries)


def test_the_configuration_gives_defaults_to_datasets():
    """Each of them, and a dataset's own word goes before it."""
    config = {"resolution": 256, "framerate": 24, "caption_strategy": "filename", "minimum_image_size": 100, "disable_multiline_split": True}
    plain = {k: v for k, v in VIDEO.items() if k != "caption_strategy"}
    spec = run_of(plain, **config).specs[0]
    assert (spec.width, spec.frame_rate, spec.caption_strategy, spec.min_side) == (256, 24.0, "filename", 100)
    assert run_of({**VIDEO, "resolution": 512}, **config).specs[0].width == 512 and run_of(VIDEO, **config).specs[0].caption_lines == "whole"
    assert run_of(plain, resolution=0.25, resolution_type="area", caption_strategy="filename").specs[0].width == 480
    prompted = run_of(plain, caption_strategy="filename", instance_prompt="fx1", prepend_instance_prompt=True).specs[0]
    assert prompted.trigger == "fx1" and run_of(VIDEO, only_instance_prompt=True, instance_prompt="a fox").specs[0].instance_prompt == "a fox"
    sound = run_of(SOUND, audio_min_duration_seconds=2, audio_max_duration_seconds=8, audio_duration_interval=1, audio_truncation_mode="end", audio_channels=1).specs[0]
    assert (sound.min_seconds, sound.max_seconds, sound.duration_interval, sound.windows) == (2.0, 8.0, 1.0, "last")
    assert run_of({**SOUND, "audio": {"min_duration_seconds": 1}}, audio_min_duration_seconds=2).specs[0].min_seconds == 1.0
    table = {**VIDEO, "caption_strategy": "parquet", "parquet": {"path": "t.parquet"}}
    assert run_of(table, parquet_caption_column="c", parquet_filename_column="f").specs[0].table_caption_column == "c"
