"""Every key of SimpleTuner's configuration: where it goes, what it becomes, and what is said of it."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from ltx2core.errors import LTX2Error
from ltx2core.runfile import RunFile
from ltx2core.simpletuner.importer import KNOWN, import_config
from ltx2core.simpletuner.report import HONOURED, IDLE, MAPPED
from ltx2core.simpletuner.rows import ALIASES
from ltx2core.strict import from_dict

DATA = [{"id": "d", "type": "local", "dataset_type": "video", "instance_data_dir": "clips", "video": {"num_frames": 49, "min_frames": 9}}]
HERE = Path("/data")


def run_of(backends=DATA, **config):
    """The run file as the trainer reads it."""
    return from_dict(RunFile, import_config({"max_train_steps": 10, **config}, backends, HERE).run, "run")


def reported(key, backends=DATA, **config):
    return import_config({"max_train_steps": 10, **config}, backends, HERE).report.of(key)


TRAIN = [
    ({"learning_rate": 6e-5}, "learning_rate", 6e-5), ({"train_batch_size": 3}, "batch_size", 3), ({"gradient_accumulation_steps": 4}, "accumulation", 4),
    ({"seed": 7}, "seed", 7), ({"max_grad_norm": 0.1}, "max_grad_norm", 0.1), ({"adam_weight_decay": 0.02}, "weight_decay", 0.02),
    ({"loss_type": "huber"}, "loss", "huber"), ({"loss_type": "smooth_l1"}, "loss", "smooth_l1"), ({"huber_c": 0.3}, "huber_c", 0.3),
    ({"audio_loss_weight": 0}, "audio_weight", 0.0), ({"caption_dropout_probability": 0.2}, "caption_dropout", 0.2),
    ({"checkpoint_step_interval": 70}, "checkpoint_every", 70), ({"checkpointing_steps": 80}, "checkpoint_every", 80),
    ({"checkpoints_total_limit": 2}, "keep_checkpoints", 2), ({"eval_steps_interval": 30}, "validate_every", 30), ({"num_eval_images": 6}, "validation_clips", 6),
    ({"gradient_checkpointing": False}, "gradient_checkpointing", False), ({"max_train_steps": 33}, "steps", 33),
    ({"optimizer": "adamw_bf16"}, "optimizer", "adamw_bf16"), ({"optimizer": "bnb-adamw8bit"}, "optimizer", "adamw_8bit"),
    ({"optimizer": "optimi-adamw"}, "optimizer", "adamw"), ({"optimizer": "prodigy"}, "optimizer", "prodigy"), ({"optimizer": "bnb-lion8bit"}, "optimizer", "lion"),
    ({"optimizer": "torch-adafactor"}, "optimizer", "adafactor"), ({"optimizer_config": "weight_decay=0.05"}, "weight_decay", 0.05),
    ({"mixed_precision": "no"}, "dtype", "float32"), ({"mixed_precision": "bf16"}, "dtype", "bf16"),
    ({"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 50}, "warmup", 50), ({"lr_scheduler": "constant", "lr_warmup_steps": 50}, "warmup", 0),
    ({"lr_scheduler": "cosine"}, "schedule", "cosine"), ({"lr_scheduler": "linear"}, "schedule", "linear"),
    ({"lr_scheduler": "polynomial", "lr_power": 0.8}, "schedule_power", 0.8),
    ({"lr_scheduler": "polynomial", "lr_end": 1e-5, "learning_rate": 1e-4}, "schedule_end", pytest.approx(0.1)),
    ({"lr_scheduler": "cosine_with_restarts", "lr_num_cycles": 3}, "schedule_restarts", 2),
    ({"lr_scale": True, "learning_rate": 1e-5, "train_batch_size": 2, "gradient_accumulation_steps": 2}, "learning_rate", pytest.approx(4e-5)),
    ({"lr_scale": True, "lr_scale_sqrt": True, "learning_rate": 1e-5, "train_batch_size": 4}, "learning_rate", pytest.approx(2e-5)),
    ({"use_ema": True, "ema_decay": 0.99}, "ema_decay", 0.99), ({"use_ema": True}, "ema_decay", 0.995), ({"use_ema": False, "ema_decay": 0.99}, "ema_decay", 0.0),
    ({"ltx2_first_frame_conditioning_probability": 0.4}, "first_frame_probability", 0.4),
    ({"ltx2_intrinsic_conditioning": [{"type": "first_frame", "probability": 0.3}]}, "first_frame_probability", 0.3),
]  # fmt: skip


@pytest.mark.parametrize(("config", "field", "value"), TRAIN, ids=lambda v: next(iter(v)) if isinstance(v, dict) else None)
def test_training(config, field, value):
    assert getattr(run_of(**config).config.train, field) == value


def test_absent_keys_take_simpletuners_defaults():
    """What part B names as defaults, where ours differ."""
    run = run_of()
    train, lora = run.config.train, run.config.lora
    assert (train.batch_size, train.max_grad_norm, train.checkpoint_every, train.keep_checkpoints, train.optimizer) == (4, 2.0, 500, 5, "adamw_bf16")
    assert (lora.rank, lora.alpha, lora.dropout, train.caption_dropout, train.timesteps.shift, train.timesteps.kind) == (16, 16, 0.1, 0.1, 3.0, "logit_normal")
    report = import_config({"max_train_steps": 10}, DATA, HERE).report
    assert report.of("lora_rank").default and report.of("max_grad_norm").value == 2.0


LORA = [
    ({"lora_rank": 8}, "rank", 8), ({"lora_rank": 8}, "alpha", 8.0), ({"lora_rank": 8, "lora_alpha": 4}, "alpha", 4.0), ({"lora_dropout": 0.0}, "dropout", 0.0),
    ({"use_dora": True}, "kind", "dora"), ({"lora_init_type": "gaussian"}, "init", "gaussian"),
    ({"peft_lora_target_modules": ["to_k", "ff.net.2"]}, "targets", ("*.to_k", "*.ff.net.2")),
    ({"peft_lora_target_modules": '["to_k", "to_q", "to_v", "to_out.0"]'}, "targets", "auto"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "field", "value"), LORA)
def test_lora(config, field, value):
    assert getattr(run_of(**config).config.lora, field) == value


def test_lycoris_is_read_with_its_type_alone(tmp_path):
    (tmp_path / "lycoris.json").write_text(json.dumps({"algo": "lokr", "multiplier": 1.0, "linear_dim": 64, "linear_alpha": 32, "factor": 8}), encoding="utf-8")
    config = {"max_train_steps": 10, "lycoris_config": "lycoris.json", "lora_rank": 4}
    used = from_dict(RunFile, import_config({**config, "lora_type": "lycoris"}, DATA, tmp_path).run, "run").config.lora
    assert (used.kind, used.rank, used.alpha, used.factor) == ("lokr", 64, 32.0, 8)
    inert = import_config(config, DATA, tmp_path)
    assert inert.run["lora"]["rank"] == 4 and inert.report.of("lycoris_config").status == IDLE
    with pytest.raises(LTX2Error, match="LyCORIS file"):
        import_config({**config, "lora_type": "lycoris", "lycoris_config": "absent.json"}, DATA, tmp_path)


TIMESTEPS = [
    ({"flow_schedule_shift": 5}, "shift", 5.0), ({"flow_sigmoid_scale": 0.5}, "std", 0.5), ({"flow_use_uniform_schedule": True}, "kind", "uniform"),
    ({"flow_use_beta_schedule": True, "flow_beta_schedule_alpha": 3}, "alpha", 3.0), ({"flow_use_beta_schedule": True, "flow_beta_schedule_beta": 4}, "beta", 4.0),
    ({"flow_schedule_auto_shift": True, "flow_schedule_shift": 0}, "kind", "shifted_logit_normal"),
    ({"flow_schedule_auto_shift": True}, "shift", 3.0),
]  # fmt: skip


@pytest.mark.parametrize(("config", "field", "value"), TIMESTEPS)
def test_timesteps(config, field, value):
    assert getattr(run_of(**config).config.train.timesteps, field) == value


MEMORY = [
    ({"ramtorch": True}, "streamed", 48), ({"ramtorch": True, "ramtorch_transformer_percent": 50}, "streamed", 24), ({"musubi_blocks_to_swap": 20}, "streamed", 20),
    ({"enable_group_offload": True, "group_offload_type": "leaf_level"}, "slots", 2),
    ({"enable_group_offload": True, "group_offload_blocks_per_group": 3, "group_offload_use_stream": True}, "slots", 6),
    ({"base_model_precision": "int8-quanto"}, "precision", "int8-quanto" if find_spec("optimum") else "int8"), ({"base_model_precision": "int8-torchao"}, "precision", "int8-torchao"),
    ({"base_model_precision": "nf4-bnb"}, "precision", "int8-torchao"), ({"base_model_precision": "fp8-native"}, "precision", "fp8-torchao"),
    ({"base_model_precision": "no_change"}, "precision", "bf16"),
    ({"musubi_blocks_to_swap": 20, "musubi_block_swap_device": "cpu"}, "streamed", 20),
]  # fmt: skip


@pytest.mark.parametrize(("config", "field", "value"), MEMORY)
def test_memory(config, field, value):
    assert getattr(run_of(**config).memory_settings, field) == value


def test_memory_is_left_to_the_plan_when_nothing_asks_for_it():
    assert run_of().memory_settings is None
    for key in ("ramtorch_text_encoder", "offload_during_startup", "group_offload_text_encoder"):
        assert reported(key, **{key: True}).status == MAPPED


VAE = [("vae_batch_size", 1, "batch_size", 1), ("vae_enable_patch_conv", True, "patch_conv", True), ("vae_enable_slicing", True, "slicing", True),
       ("vae_enable_temporal_roll", True, "temporal_roll", True)]  # fmt: skip


@pytest.mark.parametrize(("key", "given", "field", "value"), VAE)
def test_vae(key, given, field, value):
    assert getattr(run_of(**{key: given}).vae_memory, field) == value
    assert run_of(vae_enable_tiling=True).vae_memory.tiling is not None and run_of().vae_memory.tiling is None


METHODS = [
    ({"crepa_enabled": True, "crepa_block_index": 9}, lambda t: t.crepa.block_index, 9), ({"crepa_enabled": True, "crepa_lambda": 0.4}, lambda t: t.crepa.weight, 0.4),
    ({"crepa_enabled": True, "crepa_adjacent_distance": 2}, lambda t: t.crepa.adjacent_distance, 2),
    ({"crepa_enabled": True, "crepa_adjacent_tau": 2.0}, lambda t: t.crepa.adjacent_tau, 2.0),
    ({"crepa_enabled": True, "crepa_cumulative_neighbors": True}, lambda t: t.crepa.cumulative_neighbours, True),
    ({"crepa_enabled": True, "crepa_normalize_neighbour_sum": True}, lambda t: t.crepa.normalise_neighbours, True),
    ({"crepa_enabled": True, "crepa_normalize_by_frames": False}, lambda t: t.crepa.normalise_by_frames, False),
    ({"crepa_enabled": True, "crepa_spatial_align": False}, lambda t: t.crepa.spatial_align, False),
    ({"crepa_enabled": True, "crepa_encoder_image_size": 224}, lambda t: t.crepa.image_size, 224),
    ({"crepa_enabled": True, "crepa_drop_vae_encoder": True}, lambda t: t.crepa.drop_vae_encoder, True),
    ({"crepa_enabled": True, "crepa_warmup_steps": 5}, lambda t: t.crepa.warmup_steps, 5),
    ({"crepa_enabled": True, "crepa_scheduler": "cosine", "crepa_lambda_end": 0.1}, lambda t: (t.crepa.schedule, t.crepa.end_weight), ("cosine", 0.1)),
    ({"crepa_enabled": True, "crepa_decay_steps": 50}, lambda t: t.crepa.decay_steps, 50), ({"crepa_enabled": True, "crepa_power": 2}, lambda t: t.crepa.power, 2.0),
    ({"crepa_enabled": True, "crepa_cutoff_step": 60}, lambda t: t.crepa.cutoff_step, 60),
    ({"crepa_enabled": True, "crepa_similarity_threshold": 0.85}, lambda t: t.crepa.similarity_threshold, 0.85),
    ({"crepa_enabled": True, "crepa_threshold_mode": "recoverable"}, lambda t: t.crepa.threshold_mode, "recoverable"),
    ({"crepa_enabled": True, "crepa_encoder": "dinov2_vits14"}, lambda t: t.crepa.encoder, "facebook/dinov2-small"),
    ({"crepa_enabled": True}, lambda t: t.crepa.encoder, "facebook/dinov2-giant"), ({"crepa_enabled": True, "crepa_encoder_frames_batch_size": 8}, lambda t: t.crepa.frames_batch, 8),
    ({"crepa_lambda": 0.4}, lambda t: t.crepa, None),
    ({"crepa_enabled": True, "crepa_feature_source": "backbone", "crepa_teacher_block_index": 20}, lambda t: (t.crepa.feature_source, t.crepa.teacher_block_index), ("backbone", 20)),
    ({"crepa_enabled": True, "crepa_use_backbone_features": True}, lambda t: t.crepa.own_features, True),
    ({"tread_config": {"routes": [{"selection_ratio": 0.5, "start_layer_idx": 2, "end_layer_idx": -2}]}}, lambda t: (t.tread[0].selection_ratio, t.tread[0].end_layer_idx), (0.5, -2)),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_probability": 0.3}, lambda t: (t.rollout.max_step_offset, t.rollout.probability), (5, 0.3)),
    ({"scheduled_sampling_max_step_offset": 5}, lambda t: t.rollout.probability, 0.0),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_ramp_steps": 9, "scheduled_sampling_prob_end": 0.7}, lambda t: (t.rollout.ramp_steps, t.rollout.probability_end), (9, 0.7)),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_prob_start": 0.1, "scheduled_sampling_start_step": 3}, lambda t: (t.rollout.probability_start, t.rollout.start_step), (0.1, 3)),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_strategy": "biased_late", "scheduled_sampling_ramp_shape": "cosine"}, lambda t: (t.rollout.strategy, t.rollout.ramp_shape), ("biased_late", "cosine")),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_sampler": "unipc"}, lambda t: (t.rollout.sampler, t.rollout.order), ("unipc", 2)),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_sampler": "unipc", "scheduled_sampling_order": 3}, lambda t: t.rollout.order, 3),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_sampler": "dpm", "scheduled_sampling_order": 1}, lambda t: (t.rollout.sampler, t.rollout.order), ("dpm", 1)),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_sampler": "euler"}, lambda t: (t.rollout.sampler, t.rollout.order), ("euler", 1)),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_reflexflow": True, "scheduled_sampling_reflexflow_beta1": 4}, lambda t: t.reflexflow.beta1, 4.0),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_reflexflow": True, "scheduled_sampling_reflexflow_alpha": 2}, lambda t: t.reflexflow.alpha, 2.0),
    ({"scheduled_sampling_max_step_offset": 5, "scheduled_sampling_reflexflow": False, "scheduled_sampling_probability": 0.5}, lambda t: t.reflexflow, None),
    ({"ltx2_prefix_conditioning_probability": 0.2, "ltx2_prefix_conditioning_frames": 2}, lambda t: [(c.kind, c.probability, c.frames) for c in t.conditioning.conditions], [("prefix", 0.2, 2)]),
    ({"ltx2_suffix_conditioning_probability": 0.2, "ltx2_mask_conditioning_probability": 0.1}, lambda t: [c.kind for c in t.conditioning.conditions], ["suffix", "mask"]),
    ({"ltx2_intrinsic_conditioning": [{"type": "spatial_crop", "probability": 0.5, "spatial_region": [0, 0, 4, 4]}]}, lambda t: t.conditioning.conditions[0].region, (0, 0, 4, 4)),
    ({"ltx2_reference_spatial_scale_factor": 2, "ltx2_reference_temporal_scale_factor": 3}, lambda t: (t.conditioning.reference_spatial, t.conditioning.reference_temporal), (2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("config", "of", "value"), METHODS)
def test_methods(config, of, value):
    assert of(run_of(**config).config.train) == value


SAMPLES = [
    ({"validation_guidance": 4}, lambda j: j.settings["video_cfg"], 4.0), ({"ltx2_validation_audio_guidance": 6}, lambda j: j.settings["audio_cfg"], 6.0),
    ({"validation_num_inference_steps": 12}, lambda j: j.settings["steps"], 12), ({"validation_num_video_frames": 49}, lambda j: j.settings["frames"], 49),
    ({"validation_seed": 5}, lambda j: j.settings["seed"], 5), ({"validation_guidance_rescale": 0.7}, lambda j: j.settings["rescale"], 0.7),
    ({"validation_negative_prompt": "bad"}, lambda j: j.negative, "bad"), ({"validation_resolution": "640x384"}, lambda j: (j.settings["width"], j.settings["height"]), (640, 384)),
    ({"framerate": 24}, lambda j: j.settings["frame_rate"], 24.0), ({"validation_input": [{"path": "a.png", "shortname": "fox"}], "validation_prompt": ""}, lambda j: (j.name, j.image), ("fox", str(HERE / "a.png"))),
]  # fmt: skip


@pytest.mark.parametrize(("config", "of", "value"), SAMPLES)
def test_validation_becomes_samples(config, of, value):
    assert of(run_of(**{"validation_prompt": "A dog.", **config}).jobs[0]) == value


def test_one_video_for_each_prompt_size_and_seed(tmp_path):
    (tmp_path / "library.json").write_text(json.dumps({"fox": "A fox runs.", "cat": {"prompt": "A cat."}}), encoding="utf-8")
    config = {"validation_prompt": "A dog.", "validation_resolution": "512x512,768x512", "user_prompt_library": "library.json", "num_validation_images": 2, "validation_seed": 3}
    jobs = import_config({"max_train_steps": 10, **config}, DATA, tmp_path).run["samples"]
    assert len(jobs) == len({j["name"] for j in jobs}) == 3 * 2 * 2 and {j["settings"]["seed"] for j in jobs} == {3, 4}
    assert {j["prompt"] for j in jobs} == {"A dog.", "A fox runs.", "A cat."}


def test_previews_while_training():
    shown = run_of(validation_prompt="A dog.", validation_step_interval=40)
    assert (shown.config.train.preview_every, [j.prompt for j in shown.preview_jobs]) == (40, ["A dog."])
    assert run_of(validation_prompt="A dog.", validation_steps=30).config.train.preview_every == 30
    for off in ({"validation_disable": True}, {"validation_step_interval": 0}):
        assert run_of(validation_prompt="A dog.", **off).config.train.preview_every == 0 and run_of(validation_prompt="A dog.", **off).jobs


def test_the_world_outside():
    tracking = run_of(report_to="tensorboard,comet_ml", tracker_project_name="mine", push_to_hub=True, hub_model_id="me/lora", model_card_private=False).config.train.tracking
    assert (tracking.trackers, tracking.project, tracking.hub_model_id, tracking.hub_private) == (("tensorboard",), "mine", "me/lora", False)
    quiet = run_of(report_to="none", hub_model_id="me/lora").config.train.tracking
    assert (quiet.trackers, quiet.hub_model_id) == ((), "")
    run = run_of(init_lora="start.safetensors", resume_from_checkpoint="checkpoint-5", fsdp_enable=True)
    assert (run.adapter, run.config.train.resume, run.distributed) == (str(HERE / "start.safetensors"), "checkpoint-5", "fsdp2")
    assert run_of(resume_from_checkpoint="latest").config.train.resume == "auto"


def test_model_and_names():
    assert run_of(model_flavour="dev-fp8").checkpoint == "ltx-2-19b-dev-fp8.safetensors"
    assert run_of(pretrained_model_name_or_path="/models/mine.safetensors").checkpoint == "/models/mine.safetensors"
    assert run_of(ltx2_checkpoint_filename="other.safetensors", pretrained_model_name_or_path="Lightricks/LTX-2").checkpoint == "other.safetensors"
    run = run_of(output_dir="output/my lora")
    assert (run.output, run.name) == (str(HERE / "output" / "my lora"), "my_lora")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"lerning_rate": 1}, "did you mean 'learning_rate'"), ({"learning_rate": "fast"}, "must be a number"), ({"train_batch_size": 1.5}, "must be a whole number"),
        ({"ramtorch": "perhaps"}, "true or false"), ({"model_family": "flux"}, "trains flux"), ({"model_type": "full"}, "trains adapters"),
        ({"model_flavour": "2.3-dev"}, "model_flavour"), ({"optimizer": "soap"}, "optimizer"), ({"lr_scheduler": "sine"}, "lr_scheduler"),
        ({"peft_lora_mode": "singlora"}, "singlora"), ({"lora_init_type": "pissa"}, "lora_init_type"), ({"tread_config": {"rotes": []}}, "routes"),
        ({"validation_resolution": "large"}, "WxH"), ({"push_to_hub": True, "hub_model_id": "lora"}, "owner/name"), ({"max_train_steps": 0, "num_train_epochs": 0}, "max_train_steps"),
        ({"ramtorch": True, "musubi_blocks_to_swap": 4}, "keep one of them"), ({"crepa_enabled": True, "crepa_feature_source": "self_flow"}, "crepa_feature_source 'self_flow'"),
    ],
)
def test_what_cannot_be_done_is_said(config, said):
    with pytest.raises(LTX2Error, match=said):
        run_of(**config)


@pytest.mark.parametrize(
    ("config", "lost"),
    [({"twinflow_enabled": True}, True), ({"twinflow_enabled": False}, False), ({"input_perturbation": 0.1}, True), ({"xm_candidate_count": 4}, False), ({"adam_beta1": 0.8}, True),
     ({"adam_beta1": 0.9}, False), ({"validation_using_datasets": True}, True), ({"validation_adapter_path": "a/b:c.safetensors"}, True), ({"webhook_config": "x.json"}, False)],
)  # fmt: skip
def test_what_would_change_the_result_is_called_lost(config, lost):
    entry = reported(next(iter(config)), **config)
    assert entry.status in (IDLE, MAPPED) and entry.loss is lost and entry.note


@pytest.mark.parametrize("key", sorted(KNOWN))
def test_every_known_key_is_reported_with_a_status_and_a_reason(key):
    values = {"model_family": "ltxvideo2", "model_type": "lora", "max_train_steps": "5", "caption_strategy": "textfile"}
    config = {"max_train_steps": 10, **({} if key == "max_train_steps" else {key: values.get(key)})}
    entry = import_config(config, DATA, HERE).report.of(ALIASES.get(key, key))
    assert not entry.default
    assert entry.status in (HONOURED, MAPPED, IDLE) and (entry.note or entry.where)


SWITCHES = {
    "crepa_enabled": True, "use_ema": True, "flow_use_beta_schedule": True, "scheduled_sampling_max_step_offset": 3, "scheduled_sampling_reflexflow": True,
    "enable_group_offload": True, "loss_type": "huber", "lr_scheduler": "polynomial", "only_instance_prompt": True, "validation_prompt": "A dog.", "lr_scale": True,
}  # fmt: skip


@pytest.mark.parametrize("on", [{}, SWITCHES, {**SWITCHES, "lr_scheduler": "cosine_with_restarts", "flow_use_beta_schedule": False, "flow_use_uniform_schedule": True, "enable_group_offload": False, "ramtorch": True}])
def test_all_keys_at_once(on):
    """Whatever is switched on, no key is passed over."""
    special = {"model_family": "ltxvideo2", "model_type": "lora", "max_train_steps": 5, "instance_prompt": "a fox"}
    given = {key: special.get(key) for key in KNOWN if key not in ALIASES} | {"learning_rate": 1e-4} | on
    report = import_config(given, DATA, HERE).report
    assert {e.key for e in report.entries if e.source == "config"} == set(given)
    assert all(e.note or e.where for e in report.entries)
