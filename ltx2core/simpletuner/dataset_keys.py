"""Keys of a dataset in ``multidatabackend.json``: those that are one value here too, and those without a setting. Data alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .idle import Group, idle_group
from .options import as_flag, as_number, as_text, as_whole

# key -> (name in DatasetSpec, type)
DATASET_ROWS: Mapping[str, tuple] = MappingProxyType({
    "id": ("id", as_text), "repeats": ("repeats", as_whole), "train_batch_size": ("batch_size", as_whole), "max_num_samples": ("max_samples", as_whole),
    "minimum_aspect_ratio": ("min_aspect_ratio", as_number), "maximum_aspect_ratio": ("max_aspect_ratio", as_number), "seed": ("seed", as_whole),
})  # fmt: skip
VIDEO_ROWS: Mapping[str, tuple] = MappingProxyType({
    "num_frames": ("frames", as_whole), "min_frames": ("min_frames", as_whole), "max_frames": ("max_frames", as_whole), "frame_rate": ("frame_rate", as_number),
    "bucket_strategy": ("bucket_strategy", as_text), "frame_interval": ("frame_interval", as_whole),
})  # fmt: skip
AUDIO_ROWS: Mapping[str, tuple] = MappingProxyType({
    "auto_split": ("audio", as_flag), "allow_zero_audio": ("allow_zero_audio", as_flag), "duration_interval": ("duration_interval", as_number),
    "min_duration_seconds": ("min_seconds", as_number), "max_duration_seconds": ("max_seconds", as_number),
})  # fmt: skip
TABLE_ROWS: Mapping[str, tuple] = MappingProxyType({
    "path": ("caption_table", as_text), "filename_column": ("table_file_column", as_text), "caption_column": ("table_caption_column", as_text),
    "fallback_caption_column": ("table_fallback_column", as_text),
})  # fmt: skip

# Keys that the importer reads by rules of their own.
DATASET_KEYS = (
    "type", "dataset_type", "disabled", "disable", "default", "instance_data_dir", "caption_strategy", "resolution", "resolution_type", "minimum_image_size",
    "crop", "crop_style", "crop_aspect", "probability", "instance_prompt", "prepend_instance_prompt", "only_instance_prompt", "disable_multiline_split",
    "caption_shuffle", "timestep_sampling_offset", "video", "audio", "parquet", "csv_file", "csv_caption_column", "s2v_datasets", "conditioning_data",
    "conditioning_type", "is_regularisation_data", "source_dataset_id",
)  # fmt: skip
VIDEO_KEYS = ("is_i2v",)
AUDIO_KEYS = ("sample_rate", "channels", "truncation_mode", "bucket_strategy", "audio_only", "target_resolution", "source_from_video")
TABLE_KEYS = ("width_column", "height_column", "identifier_includes_extension", "bbox_column", "duration_column", "sample_rate_column", "channels_column")

DATASET_IDLE: tuple[Group, ...] = (
    idle_group("the cache finds by content what is new and lies in the run's output folder",
           "cache_dir cache_dir_vae cache_dir_conditioning_image_embeds conditioning_image_embed_batch_size cache_file_suffix hash_filenames metadata_backend "
           "metadata_update_interval vae_cache_ondemand vae_cache_disable vae_cache_clear_each_epoch text_cache_ondemand text_cache_disable text_embeds "
           "image_embeds conditioning_image_embeds skip_file_discovery preserve_data_backend_cache write_batch_size text_encoder_batch_size "
           "vae_cache_scan_behaviour csv_cache_dir memory_filesystem_path memory_filesystem_size memory_filesystem_sudo aspect_bucket_worker_count"),
    idle_group("pictures are reduced from their full size to the bucket's in one step", "maximum_image_size target_downsample_size"),
    idle_group("files of a dataset are never deleted, nor judged by what they show", "delete_unwanted_images delete_problematic_images delete_nsfw_images"),
    idle_group("proportions decide the bucket, in multiples of 32", "crop_aspect_buckets aspect_bucket_alignment aspect_ratio_bucket_indices"),
    idle_group("this pack does not do it", "", max_upscale_threshold=(), start_epoch=(1,), end_epoch=(), start_step=(), end_step=(), slider_strength=(),
           conditioning=(), grounding=(), caption_filter_list=(), source_dataset_id=(), ignore_epochs=()),
)  # fmt: skip
DATASET_REASONS: Mapping[str, str] = MappingProxyType({n: g.reason for g in DATASET_IDLE for n in (*g.harmless, *g.lossy)})
DATASET_NEUTRAL: Mapping[str, tuple] = MappingProxyType({n: v for g in DATASET_IDLE for n, v in g.lossy.items()})
# Stores of features, not media.
STORES = ("text_embeds", "image_embeds", "conditioning_image_embeds")
