"""Options of SimpleTuner that have no setting here: a reason for each group, and which values would have changed the result.

Data alone. A name listed under ``harmless`` never changes what is learned; one under ``lossy`` does unless its value is
one of the neutral ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_OFF = (False, None, "", 0, "none", "no", "false", "False", 0.0)


@dataclass(frozen=True)
class Group:
    """reason: a sentence for the report. harmless: names. lossy: names -> values that change nothing."""

    reason: str
    harmless: tuple[str, ...] = ()
    lossy: Mapping[str, tuple] = field(default_factory=dict)


def idle_group(reason: str, harmless: str = "", **lossy: tuple) -> Group:
    return Group(reason, tuple(harmless.split()), MappingProxyType({name: (*_OFF, *values) for name, values in lossy.items()}))


IDLE_GROUPS = (
    idle_group("losses lie in the run's folder and on the canvas; a tracker's run has the run's name",
           "tracker_run_name tracker_image_layout custom_tracker logging_dir webhook_config webhook_reporting_interval"),
    idle_group("the finished adapter alone is uploaded, with its own card, and only with push_to_hub",
           "push_to_hub_background push_checkpoints_to_hub publishing_config model_card_note model_card_safe_for_work modelspec_comment"),
    idle_group("no other program is started by a run", "post_checkpoint_script post_upload_script validation_external_script validation_external_background validation_method"),
    idle_group("it steers SimpleTuner's own program",
           "disable_benchmark override_dataset_config i_know_what_i_am_doing trust_remote_code merge_environment_config configs_dir debug_aspect_buckets "
           "debug_dataset_loader print_filenames print_sampler_statistics enable_watermark same_network find_unused_parameters local_rank "
           "validation_stitch_input_location validation_image_format validation_image_quality help enable_xformers_memory_efficient_attention "
           "accelerate_config accelerate_extra_args torch_num_threads allow_tf32 disable_tf32 ignore_missing_files seed_for_each_device "
           "main_process_ip main_process_port machine_rank validation_multigpu"),
    idle_group("steps are compiled and recorded by this pack itself where that helps, see Memory Settings",
           "dynamo_backend dynamo_mode dynamo_dynamic dynamo_fullgraph dynamo_use_regional_compilation attention_mechanism sageattention_usage "
           "fuse_qkv_projections set_grads_to_none accelerator_cache_clear_interval enable_chunked_feed_forward feed_forward_chunk_size"),
    idle_group("the cache finds by content what is new, needs no settings for it, and has one format",
           "cache_dir cache_dir_text cache_dir_vae skip_file_discovery compress_disk_cache vae_cache_scan_behaviour vae_cache_ondemand vae_cache_disable "
           "text_cache_ondemand text_cache_disable text_embed_full_cache preserve_data_backend_cache write_batch_size read_batch_size "
           "image_processing_batch_size text_encoder_batch_size metadata_update_interval aspect_bucket_worker_count aspect_bucket_disable_rebuild "
           "max_workers enable_multiprocessing aws_max_pool_connections dataloader_prefetch dataloader_prefetch_qlen disable_bucket_pruning "
           "aspect_bucket_rounding keep_vae_loaded text_encoder_limit"),
    idle_group("files of a dataset are never deleted, nor judged by what they show",
           "delete_problematic_images delete_unwanted_images delete_nsfw_images enable_nsfw_check nsfw_check_models nsfw_check_min_votes "
           "nsfw_check_backend_types nsfw_check_sample_types nsfw_check_video_frame_count nsfw_check_video_frame_selection "
           "nsfw_check_video_min_flagged_frames data_aesthetic_score"),
    idle_group("a full disk stops the run with its state saved", "disk_low_action disk_low_script disk_low_threshold"),
    idle_group("sides are multiples of 32 here, which is what the VAE needs", "aspect_bucket_alignment"),
    idle_group("a bucket with fewer clips than a batch gives a smaller batch", "allow_dataset_oversubscription"),
    idle_group("states are written at once and whole",
           "checkpointing_use_tempdir delete_invalid_checkpoints offload_during_save", checkpointing_rolling_steps=(), checkpoints_rolling_total_limit=(1,)),
    idle_group("a run counts steps, not epochs, for its states and checks", "checkpoint_epoch_interval eval_epoch_interval validation_epoch_interval strict_epoch_limit "
           "ignore_final_epochs validate_after_epoch"),
    idle_group("the transformer's frozen weights are quantised block by block when they are read, on the device",
           "quantize_via offload_param_path ramtorch_disable_sync_hooks ramtorch_disable_extensions ramtorch_target_modules ramtorch_vae ramtorch_controlnet "
           "ramtorch_text_encoder_percent group_offload_vae group_offload_to_disk_path delete_model_after_load fully_unload_text_encoder "
           "quantization_config sdnq_compile_mode sdnq_group_size sdnq_quantized_matmul_dtype sdnq_use_quantized_matmul sdnq_weights_dtype "
           "sdnq_use_static_quantization sdnq_use_stochastic_rounding sdnq_dequantize_fp32 sdnq_use_svd sdnq_svd_rank sdnq_svd_steps "
           "sdnq_use_hadamard sdnq_hadamard_group_size sdnq_modules_to_not_convert sdnq_modules_to_not_use_matmul sdnq_modules_dtype_dict "
           "sdnq_modules_quant_config", quantize_activations=()),
    idle_group("the optimizer's state stays on the device with the adapter, which is small",
           "optimizer_cpu_offload_method optimizer_offload_gradients optimizer_release_gradients fuse_optimizer ema_cpu_only ema_device ema_foreach_disable"),
    idle_group("how many blocks are recomputed is chosen by the memory plan",
           "gradient_checkpointing_interval gradient_checkpointing_backend gradient_checkpointing_segment_stride gradient_checkpointing_offload_attention "
           "gradient_checkpointing_offload_prefetch gradient_checkpointing_offload_pin_memory_max_buckets"),
    idle_group("torchrun says how many processes there are; the rest is chosen by what fits",
           "num_processes num_machines deepspeed_config fsdp_version fsdp_activation_checkpointing fsdp_auto_wrap_policy fsdp_cpu_offload "
           "fsdp_cpu_ram_efficient_loading fsdp_limit_all_gathers fsdp_reshard_after_forward fsdp_state_dict_type fsdp_transformer_layer_cls_to_wrap "
           "context_parallel_size context_parallel_comm_strategy"),
    idle_group("it has no effect on a flow-matching model",
           "prediction_type snr_gamma snr_weight use_soft_min_snr soft_min_snr_sigma_data noise_offset noise_offset_probability offset_noise "
           "rescale_betas_zero_snr training_scheduler_timestep_spacing inference_scheduler_timestep_spacing timestep_bias_begin timestep_bias_end "
           "timestep_bias_multiplier timestep_bias_portion timestep_bias_strategy refiner_training refiner_training_invert_schedule "
           "refiner_training_strength disable_segmented_timestep_sampling validation_noise_scheduler diff2flow_loss"),
    idle_group("LTX-2 19B has no such part; this option belongs to other models",
           "t5_padding train_text_encoder text_encoder_lr save_text_encoder pretrained_t5_model_name_or_path pretrained_unet_model_name_or_path "
           "pretrained_unet_subfolder unet_attention_slice freeze_encoder_after freeze_encoder_before freeze_encoder_strategy layer_freeze_strategy "
           "qwen_text_encoder_model_name_or_path custom_text_encoder_intermediary_layers lyrics_embedder_lr lyrics_embedder_lr_scheduler "
           "lyrics_embedder_optimizer lyrics_embedder_train validation_lyrics validation_audio_duration acestep_lora_target tokenizer_max_length "
           "cosmos3_generator_component cosmos3_reasoner_component deepfloyd_validation_pipeline_mode deepfloyd_validation_stage1_guidance "
           "deepfloyd_validation_stage1_model deepfloyd_validation_stage1_num_inference_steps deepfloyd_validation_stage2_guidance "
           "deepfloyd_validation_stage2_model deepfloyd_validation_stage2_num_inference_steps deepfloyd_validation_stage3_guidance "
           "deepfloyd_validation_stage3_mode deepfloyd_validation_stage3_model deepfloyd_validation_stage3_noise_level flux_attention_masked_training "
           "flux_fast_schedule flux_guidance_max flux_guidance_min flux_guidance_mode flux_guidance_value flux_lora_target "
           "hidream_load_balancing_loss_weight hidream_use_load_balancing_loss ideogram_auto_json ideogram_fp8_base_upcast "
           "ideogram_load_unconditional_transformer ideogram_prompt_enhancer_head_id ideogram_prompt_upsample ideogram_schedule_mu "
           "ideogram_schedule_std ideogram_uncond_ramtorch ideogram_validation krea2_reference_latents ltx_i2v_prob ltx_partial_noise_fraction "
           "ltx_protect_first_frame ltx_train_mode minimax_h3_reference_mode minimax_h3_sparse_attention minimax_h3_sparse_block_shape "
           "minimax_h3_sparse_share_heads minimax_h3_sparse_start_layer minimax_h3_sparse_video_kv_fraction minimax_h3_target_mode "
           "minimax_music_lm_adapter minimax_music_lm_adapter_strength minimax_music_lm_max_frames minimax_music_lm_precache_mode "
           "minimax_music_train_component pixart_validation_pipeline_mode pixart_validation_stage1_model pixart_validation_stage2_model "
           "sana_complex_human_instruction sd3_clip_uncond_behaviour sd3_t5_uncond_behaviour sdxl_refiner_uses_full_range "
           "sdxl_validation_pipeline_mode sdxl_validation_stage1_model sdxl_validation_stage2_model wan_force_2_1_time_embedding "
           "wan_validation_load_other_stage validation_guidance_real validation_no_cfg_until_timestep"),
    idle_group("scores of pictures are not computed, only the validation loss",
           "evaluation_type pretrained_evaluation_model_name_or_path eval_loss_disable eval_timesteps eval_dataset_pooling"),
    idle_group("previews come at every interval, from the first on",
           "validate_after_step validation_on_startup validation_preview validation_preview_steps "
           "validation_disable_unconditional validation_randomize validation_seed_source ema_validation"),
    idle_group("this method is not in the pack", "", diff2flow_enabled=(), distillation_method=(), distillation_config=(), diffusion_blocks_config=(), twinflow_enabled=(), mixflow_enabled=(),
           nextlat_enabled=(), internal_guidance_enabled=(), irepa_enabled=(), layersync_enabled=(), urepa_enabled=(), xm_enabled=(), crepa_self_flow=(),
           slider_lora_target=(), sla_config=(), controlnet=(), control=(), max_grounding_entities=(), singlora_ramp_up_steps=(), input_perturbation=(),
           audio_flow_schedule_shift=(), init_lokr_norm=(), assistant_lora_path=(), flow_custom_timesteps=(), flow_cubic_schedule_weights=(),
           max_upscale_threshold=(), validation_guidance_skip_layers=(), validation_ltx2_video_conditioning=(), validation_internal_guidance_scale=(1, 1.0)),
    idle_group("it belongs to a method that is not in the pack",
           "twinflow_target_step_count mixflow_gamma nextlat_block_index nextlat_kl_weight nextlat_state_loss nextlat_weight internal_guidance_block_index "
           "internal_guidance_loss_weight irepa_projector_kernel_size irepa_spatial_norm_alpha layersync_lambda layersync_student_block "
           "layersync_teacher_block urepa_cutoff_step urepa_decay_steps urepa_encoder_image_size urepa_lambda urepa_lambda_end urepa_manifold_weight "
           "urepa_model urepa_power urepa_scheduler urepa_similarity_ema_decay urepa_similarity_threshold urepa_threshold_mode urepa_use_tae "
           "urepa_warmup_steps xm_block_size xm_candidate_count xm_selection_scope xm_training_target crepa_self_flow_mask_ratio "
           "controlnet_custom_config controlnet_model_name_or_path pretrained_grounding_model_name_or_path "
           "conditioning_multidataset_sampling input_perturbation_steps init_lora_ema init_lora_step assistant_lora_strength "
           "assistant_lora_inference_strength disable_assistant_lora flow_timesteps_mode "
           "validation_guidance_skip_layers_start validation_guidance_skip_layers_stop validation_guidance_skip_scale prodigy_steps "
           "ltx2_validation_spatial_upsampler_model ltx2_validation_spatial_upsampler_filename"),
    idle_group("a mask counts in every batch", "", masked_loss_probability=(1, 1.0)),
)  # fmt: skip

REASONS: Mapping[str, str] = MappingProxyType({name: group.reason for group in IDLE_GROUPS for name in (*group.harmless, *group.lossy)})
NEUTRAL: Mapping[str, tuple] = MappingProxyType({name: values for group in IDLE_GROUPS for name, values in group.lossy.items()})
