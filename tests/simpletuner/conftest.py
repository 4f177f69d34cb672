"""The reference guide's files, as values."""

import json

import pytest

# The lowest-VRAM configuration of the guide for LTX-2.
LOWEST = {
    "base_model_precision": "int8-quanto", "checkpoint_step_interval": 100, "data_backend_config": "config/ltx2/multidatabackend.json",
    "disable_benchmark": True, "dynamo_mode": "", "evaluation_type": "none", "hub_model_id": "some-lora", "learning_rate": 6e-5, "lr_warmup_steps": 50,
    "lycoris_config": "config/lycoris_config.json", "max_grad_norm": 0.1, "max_train_steps": 200, "minimum_image_size": 0, "model_family": "ltxvideo2",
    "model_flavour": "dev", "model_type": "lora", "num_train_epochs": 0, "offload_during_startup": True, "optimizer": "adamw_bf16",
    "output_dir": "output/low", "override_dataset_config": True, "ramtorch": True, "ramtorch_text_encoder": True, "report_to": "none", "resolution": 480,
    "scheduled_sampling_reflexflow": False, "seed": 42, "skip_file_discovery": "", "tracker_project_name": "lora-training",
    "tracker_run_name": "example", "train_batch_size": 2, "vae_batch_size": 1, "vae_enable_patch_conv": True, "vae_enable_slicing": True,
    "vae_enable_temporal_roll": True, "vae_enable_tiling": True, "validation_disable": True, "validation_disable_unconditional": True,
    "validation_guidance": 5, "validation_num_inference_steps": 40, "validation_num_video_frames": 81, "validation_prompt": "A sign says hello.",
    "validation_resolution": "768x512", "validation_seed": 42, "validation_using_datasets": False,
}  # fmt: skip
BACKENDS = [
    {
        "id": "clips", "type": "local", "dataset_type": "video", "instance_data_dir": "datasets/videos", "caption_strategy": "textfile", "resolution": 480,
        "video": {"num_frames": 61, "min_frames": 61, "frame_rate": 25, "bucket_strategy": "aspect_ratio"},
        "audio": {"auto_split": True, "sample_rate": 16000, "channels": 1, "duration_interval": 3.0, "allow_zero_audio": False}, "repeats": 10,
    },
    {"id": "text-embeds", "type": "local", "dataset_type": "text_embeds", "default": True, "cache_dir": "cache/text/ltxvideo2", "disabled": False},
]  # fmt: skip


@pytest.fixture
def lowest():
    return json.loads(json.dumps(LOWEST))


@pytest.fixture
def backends():
    return json.loads(json.dumps(BACKENDS))
