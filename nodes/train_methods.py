"""Methods of training. Each node takes train settings and gives them on with one method set, so they are put in a row."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..ltx2core.errors import LTX2Error
from ..ltx2core.models.forward import CROSS_TIMESTEP_RULES
from ..ltx2core.train.conditioning import Condition, ConditioningSettings
from ..ltx2core.train.crepa import FEATURE_SOURCES, THRESHOLD_MODES, CrepaSettings
from ..ltx2core.train.crepa import SCHEDULES as CREPA_SCHEDULES
from ..ltx2core.train.reflexflow import ReflexFlowSettings
from ..ltx2core.train.rollout_settings import ORDERS, RAMPS, STRATEGIES, RolloutSettings
from ..ltx2core.train.settings import LOSSES, TIMESTEP_KINDS, TimestepSettings
from ..ltx2core.train.tracking_settings import TrackingSettings
from ..ltx2core.train.tread import TreadRoute
from .base import ADVANCED, CATEGORY, TrainSettingsWire


def _method(node_id: str, name: str, description: str, inputs: list) -> io.Schema:
    return io.Schema(
        node_id=node_id, display_name=f"LTX-2 {name}", category=f"{CATEGORY}/train/methods", description=description,
        inputs=[TrainSettingsWire.Input("settings", tooltip="From Train Settings, or from another method."), *inputs],
        outputs=[TrainSettingsWire.Output("settings", tooltip="For Train LoRA, or for another method.")],
    )  # fmt: skip


def _share(name: str, tooltip: str, default: float = 0.0, **more) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.05, tooltip=tooltip, **more)


# Of widgets that came later, which graphs saved before do not have.
_LATER = {"optional": True, "extra_dict": ADVANCED}


def _region(text: str, kind: str) -> tuple[int, ...]:
    """"top, left, bottom, right" -> those; () for an empty one."""
    try:
        return tuple(int(n) for n in text.replace(",", " ").split())
    except ValueError as error:
        raise LTX2Error(f"The region of {kind} is {text!r}; give top, left, bottom, right in latent cells (32 pixels), such as 0, 0, 8, 12, or nothing.") from error


class LTX2ConditioningSettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return _method(
            "LTX2ConditioningSettings", "Conditioning in Training",
            "What samples are given clean while they are trained, so that the LoRA serves image, extension, inpainting or sound to video.",
            [
                _share("prefix_probability", "Share of samples whose beginning is given: for making clips longer."),
                io.Int.Input("prefix_frames", default=0, min=0, max=1000, tooltip="Latent frames (8 pictures each, the first 1) at the beginning. 0 draws up to half of the clip."),
                _share("suffix_probability", "Share of samples whose end is given: for what came before."),
                io.Int.Input("suffix_frames", default=0, min=0, max=1000, tooltip="Latent frames at the end. 0 draws up to half of the clip."),
                _share("spatial_crop_probability", "Share of samples that are given a random box of every picture: for making pictures wider."),
                _share("mask_probability", "Share of samples that are given all but a random box: for painting things in."),
                _share("frozen_audio", "Share of samples with sound whose sound is given whole: for sound to video."),
                _share("frozen_video", "Share of samples with sound whose video is given whole: for video to sound. Together with frozen_audio at most 1."),
                _share("reference_probability", "Share of samples that see their reference video, where Train LoRA has references.", 1.0),
                io.String.Input("spatial_crop_region", default="", tooltip="One fixed box for spatial_crop: top, left, bottom, right in latent cells (32 pixels), such as 0, 0, 8, 12. Empty for random boxes.", **_LATER),
                io.String.Input("mask_region", default="", tooltip="One fixed box for mask, in the same form. Empty for random boxes.", **_LATER),
                io.Int.Input("reference_spatial", default=0, min=0, max=16, tooltip="How many times larger clips are than their references. 0 reads it from their sizes.", **_LATER),
                io.Int.Input("reference_temporal", default=0, min=0, max=64, tooltip="How many times longer clips are than their references. 0 reads it from their lengths.", **_LATER),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, settings, prefix_probability, prefix_frames, suffix_probability, suffix_frames, spatial_crop_probability, mask_probability,
                frozen_audio, frozen_video, reference_probability, spatial_crop_region="", mask_region="", reference_spatial=0, reference_temporal=0) -> io.NodeOutput:  # fmt: skip
        wanted = (
            Condition("prefix", prefix_probability, prefix_frames), Condition("suffix", suffix_probability, suffix_frames),
            Condition("spatial_crop", spatial_crop_probability, region=_region(spatial_crop_region, "spatial_crop")),
            Condition("mask", mask_probability, region=_region(mask_region, "mask")),
        )  # fmt: skip
        conditions = tuple(c for c in wanted if c.probability > 0)
        conditioning = ConditioningSettings(conditions, frozen_audio, frozen_video, reference_probability, reference_spatial or None, reference_temporal or None)
        return io.NodeOutput(replace(settings, conditioning=conditioning))


class LTX2ObjectiveSettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return _method(
            "LTX2ObjectiveSettings", "Objective", "How noisy samples are made and how errors count. The defaults suit nearly all runs.",
            [
                io.Combo.Input("timesteps", options=list(TIMESTEP_KINDS), default="shifted_logit_normal", tooltip="How noise levels are drawn. shifted_logit_normal follows the clip's size, as the model was made."),
                io.Float.Input("mean", default=0.0, min=-20.0, max=20.0, step=0.1, tooltip="Moves the noise levels: above 0 to more noise (layout, motion), below 0 to less (detail)."),
                io.Float.Input("std", default=1.0, min=0.01, max=20.0, step=0.05, tooltip="How wide the noise levels are spread."),
                io.Float.Input("shift", default=0.0, min=0.0, max=100.0, step=0.1, tooltip="A fixed shift instead of the one by size; 0 leaves it to the size. 3 is what some other trainers use."),
                _share("uniform_fraction", "Share of samples with any noise level alike, so that none is forgotten. For shifted_logit_normal.", 0.1),
                io.Boolean.Input("independent_audio", default=True, tooltip="Give sound a noise level of its own. Off: the same as the picture's, which hurts voices."),
                io.Combo.Input("loss", options=list(LOSSES), default="l2", tooltip="l2 is usual. huber and smooth_l1 count large errors less, for clips with faults."),
                io.Float.Input("huber_c", default=0.1, min=0.0001, max=10.0, step=0.01, tooltip="Where huber and smooth_l1 begin to count less."),
                io.Boolean.Input("audio_only", default=False, tooltip="Train the sound alone: the picture is not computed, which saves most of time and memory. Every clip needs sound."),
                io.String.Input("offsets", default="", multiline=True, tooltip="One line for each kind of clip: the name of a dataset or a pattern of paths, a space, and what its mean is moved by, such as */portraits/* -0.5. Empty for none."),
                io.Float.Input("alpha", default=1.0, min=0.01, max=100.0, step=0.1, tooltip="Of the timesteps beta: above beta, more noise is drawn.", **_LATER),
                io.Float.Input("beta", default=1.0, min=0.01, max=100.0, step=0.1, tooltip="Of the timesteps beta: above alpha, less noise is drawn.", **_LATER),
                io.Combo.Input("av_cross_timestep", options=list(CROSS_TIMESTEP_RULES), default="official", tooltip="Which noise level the attention between picture and sound is told. Keep official, and the same in sampling.", **_LATER),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, settings, timesteps, mean, std, shift, uniform_fraction, independent_audio, loss, huber_c, audio_only, offsets, alpha=1.0, beta=1.0,
                av_cross_timestep="official") -> io.NodeOutput:  # fmt: skip
        drawn = TimestepSettings(
            timesteps, mean, std, alpha, beta, shift=shift or None, uniform_fraction=uniform_fraction, independent_audio=independent_audio, offsets=_offsets(offsets),
        )  # fmt: skip
        return io.NodeOutput(replace(settings, timesteps=drawn, loss=loss, huber_c=huber_c, audio_only=audio_only, av_cross_timestep=av_cross_timestep))


def _offsets(text: str) -> tuple[tuple[str, float], ...]:
    pairs = []
    for line in filter(None, map(str.strip, text.splitlines())):
        pattern, _, number = line.rpartition(" ")
        try:
            pairs.append((pattern.strip(), float(number)))
        except ValueError:
            pattern = ""
        if not pattern.strip():
            raise LTX2Error(f"The offset {line!r} is not a pattern, a space and a number; write a line such as */portraits/* -0.5.")
    return tuple(pairs)


class LTX2ScheduleSettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return _method(
            "LTX2ScheduleSettings", "Schedule and EMA", "How the learning rate falls, and a running mean of the LoRA.",
            [
                io.Float.Input("ema_decay", default=0.0, min=0.0, max=0.9999, step=0.001, tooltip="Validate and write a running mean of the LoRA, which is calmer than its last step. 0.99 to 0.999; 0 is off."),
                _share("schedule_end", "Share of the learning rate at which a falling schedule ends."),
                io.Int.Input("schedule_restarts", default=0, min=0, max=100, tooltip="How often the cosine schedule begins again at the full rate."),
                io.Float.Input("schedule_power", default=2.0, min=0.1, max=10.0, step=0.1, tooltip="Of the polynomial schedule: higher falls sooner."),
                io.Float.Input("divergence_guard", default=0.0, min=0.0, max=100.0, step=0.1, tooltip="Save and stop when a validation loss is more than this many times its best, such as 1.5. 0 is off."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, settings, **values) -> io.NodeOutput:
        return io.NodeOutput(replace(settings, **values))


class LTX2Tread(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return _method(
            "LTX2Tread", "TREAD", "Lets a random part of the picture's tokens skip the middle blocks while training: faster steps. Put two in a row for two routes.",
            [
                io.Float.Input("selection_ratio", default=0.5, min=0.01, max=0.99, step=0.05, tooltip="Share of the tokens that skip. 0.5 is fastest; 0.1 to 0.25 keeps the most quality."),
                io.Int.Input("start_layer", default=2, min=-64, max=63, tooltip="First block that is skipped, from 0; negative ones count from the end."),
                io.Int.Input("end_layer", default=-2, min=-64, max=63, tooltip="Last block that is skipped."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, settings, selection_ratio, start_layer, end_layer) -> io.NodeOutput:
        return io.NodeOutput(replace(settings, tread=(*settings.tread, TreadRoute(selection_ratio, start_layer, end_layer))))


class LTX2Crepa(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return _method(
            "LTX2Crepa", "CREPA", "Pulls the model's inner pictures towards those of DINOv2 in the same and in neighbouring frames: steadier motion and things.",
            [
                io.String.Input("encoder", default="", tooltip="Folder of a DINOv2 (config.json and .safetensors), or its name on the hub, such as facebook/dinov2-giant. Nothing is downloaded unless allow_download is on."),
                io.Int.Input("block", default=8, min=0, max=63, tooltip="Block whose output is compared, from 0. 8 suits the 48 blocks of LTX-2."),
                io.Float.Input("weight", default=0.5, min=0.0, max=10.0, step=0.05, tooltip="How much it counts beside the loss."),
                io.Int.Input("adjacent_distance", default=1, min=0, max=64, tooltip="How many latent frames away the neighbours are that count too. 0 takes the frame alone."),
                io.Float.Input("adjacent_tau", default=1.0, min=0.01, max=100.0, step=0.1, tooltip="How slowly neighbours' weight falls with distance."),
                io.Int.Input("image_size", default=518, min=14, max=2048, tooltip="Pixels of DINOv2's pictures: 518 for the giant, 224 for the small one."),
                io.Combo.Input("schedule", options=list(CREPA_SCHEDULES), default="constant", tooltip="How the weight goes on over the run."),
                io.Float.Input("end_weight", default=0.0, min=0.0, max=10.0, step=0.05, tooltip="Weight at the end of a falling schedule; 0.1 for text to video."),
                io.Float.Input("similarity_threshold", default=0.0, min=0.0, max=10.0, step=0.05, tooltip="Stop when the running mean of the score reaches this; 0 is never."),
                io.Boolean.Input("drop_vae_encoder", default=False, tooltip="Keep the VAE's encoder off the card while the pictures are made, to save memory."),
                io.Int.Input("warmup_steps", default=0, min=0, max=1_000_000, tooltip="Steps over which the weight rises from 0.", **_LATER),
                io.Int.Input("decay_steps", default=0, min=0, max=1_000_000, tooltip="The step at which a falling schedule reaches end_weight. 0 is the run's last.", **_LATER),
                io.Float.Input("power", default=2.0, min=0.1, max=10.0, step=0.1, tooltip="Of the polynomial schedule: higher falls sooner.", **_LATER),
                io.Int.Input("cutoff_step", default=0, min=0, max=1_000_000, tooltip="The step at which it ends. 0 is never.", **_LATER),
                io.Combo.Input("threshold_mode", options=list(THRESHOLD_MODES), default="permanent", tooltip="Whether similarity_threshold ends it for good, or until the score falls again.", **_LATER),
                io.Boolean.Input("cumulative_neighbours", default=False, tooltip="Count all neighbours up to adjacent_distance, not those at that distance alone.", **_LATER),
                io.Boolean.Input("normalise_neighbours", default=False, tooltip="Divide the neighbours' part by the sum of their weights.", **_LATER),
                io.Boolean.Input("normalise_by_frames", default=True, tooltip="Take the mean over frames, so that long clips do not count more.", **_LATER),
                io.Boolean.Input("spatial_align", default=True, tooltip="Compare place by place. Off compares the means of whole frames.", **_LATER),
                io.Int.Input("frames_batch", default=0, min=0, max=4096, tooltip="Pictures that DINOv2 sees at once: fewer take less memory. 0 is all of a clip.", **_LATER),
                io.Boolean.Input("allow_download", default=False, tooltip="Download the encoder into the Hugging Face cache when it is named by the hub and not there yet. The giant has 4.2 GiB.", **_LATER),
                io.Combo.Input("feature_source", options=list(FEATURE_SOURCES), default="encoder", tooltip="encoder: DINOv2. backbone: a later block of the model itself teaches, and encoder may be empty.", **_LATER),
                io.Int.Input("teacher_block_index", default=16, min=0, max=63, tooltip="Of feature_source backbone: the block that teaches, from 0.", **_LATER),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, settings, encoder, block, **values) -> io.NodeOutput:
        return io.NodeOutput(replace(settings, crepa=CrepaSettings(encoder, block, **values)))


class LTX2ScheduledSampling(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return _method(
            "LTX2ScheduledSampling", "Scheduled Sampling", "Trains a share of the samples on states that the model reached by its own steps, against drift in long samplings. Slower.",
            [
                io.Int.Input("max_step_offset", default=3, min=0, max=100, tooltip="Most own steps before a sample. Each costs a forward pass; 0 switches it off."),
                _share("probability", "Share of samples, when there is no ramp; else where the ramp ends.", 0.5),
                io.Int.Input("start_step", default=0, min=0, max=1_000_000, tooltip="First step of training with it."),
                io.Int.Input("ramp_steps", default=0, min=0, max=1_000_000, tooltip="Steps over which the share rises from 0. 0 for no ramp."),
                io.Combo.Input("strategy", options=list(STRATEGIES), default="uniform", tooltip="How many steps are drawn: all numbers alike, few (biased_early) or many (biased_late)."),
                io.Int.Input("sampling_steps", default=30, min=2, max=1000, tooltip="Into how many steps the way from noise to clip is divided: as in your samplings."),
                io.Combo.Input("sampler", options=list(ORDERS), default="euler", tooltip="The solver of these steps. heun costs twice; dpm is second order at the cost of euler, unipc up to third."),
                io.Boolean.Input("reflexflow", default=False, tooltip="Also weigh what changes most by the drift, and pull back from it. Two more forward passes."),
                io.Float.Input("anti_drift", default=10.0, min=0.0, max=1000.0, step=0.5, tooltip="Weight of ReflexFlow's pull back."),
                io.Float.Input("exposure", default=1.0, min=0.0, max=100.0, step=0.1, tooltip="How much more ReflexFlow weighs what the drift changes."),
                _share("probability_start", "Share of samples where a ramp begins.", **_LATER),
                io.Combo.Input("ramp_shape", options=list(RAMPS), default="linear", tooltip="How a ramp rises.", **_LATER),
                io.Int.Input("order", default=0, min=0, max=3, tooltip="Of the solver: dpm has 1 and 2, unipc 1 to 3. 0 is the sampler's highest.", **_LATER),
                io.Float.Input("flow_weight", default=1.0, min=0.0, max=100.0, step=0.1, tooltip="Weight of the usual loss beside ReflexFlow's terms.", **_LATER),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, settings, max_step_offset, probability, start_step, ramp_steps, strategy, sampling_steps, sampler, reflexflow, anti_drift, exposure,
                probability_start=0.0, ramp_shape="linear", order=0, flow_weight=1.0) -> io.NodeOutput:  # fmt: skip
        rollout = RolloutSettings(
            max_step_offset, probability, probability_start, probability, ramp_steps, start_step, ramp_shape, strategy, sampling_steps, sampler, order,
        )  # fmt: skip
        return io.NodeOutput(replace(settings, rollout=rollout, reflexflow=ReflexFlowSettings(exposure, anti_drift, flow_weight) if reflexflow else None))


class LTX2Tracking(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return _method(
            "LTX2Tracking", "Trackers and Hub", "Who else is told of a run. Its losses are always in metrics.jsonl in the run's folder; nothing is sent anywhere unless it is asked for here.",
            [
                io.Boolean.Input("tensorboard", default=False, tooltip="Write losses for TensorBoard into the run's folder. It must be installed: pip install tensorboard."),
                io.Boolean.Input("wandb", default=False, tooltip="Send losses and settings to Weights & Biases, with the login and environment of its own program. It must be installed: pip install wandb."),
                io.String.Input("project", default="ltx2-studio", tooltip="Of wandb."),
                io.String.Input("hub_model_id", default="", tooltip="owner/name of a Hugging Face repository that the finished LoRA is pushed to with a model card; log in with hf auth login first. Empty for never."),
                io.Boolean.Input("hub_private", default=True, tooltip="Make that repository private, if it is new."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, settings, tensorboard, wandb, project, hub_model_id, hub_private) -> io.NodeOutput:
        trackers = tuple(name for name, wanted in (("tensorboard", tensorboard), ("wandb", wandb)) if wanted)
        return io.NodeOutput(replace(settings, tracking=TrackingSettings(trackers, project, hub_model_id.strip(), hub_private)))


NODES = [LTX2ConditioningSettings, LTX2ObjectiveSettings, LTX2ScheduleSettings, LTX2Tread, LTX2Crepa, LTX2ScheduledSampling, LTX2Tracking]
