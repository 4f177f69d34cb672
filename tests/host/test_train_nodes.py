"""Training in segments, previews, and the run file beside the adapter, in a real ComfyUI on tiny models."""

import json

import pytest
import torch
from comfy_host import PACK, error_of, training, with_preview
from safetensors.torch import load_file

from ltx2core.cli import main
from ltx2core.media.probe import probe
from ltx2core.train.state import Checkpointer

pytestmark = pytest.mark.host


def run_folder(comfy, name):
    return comfy.base / "output" / "ltx2_runs" / name


def steps(folder):
    return sorted(Checkpointer.step_of(p) for p in Checkpointer(folder).paths())


def test_queueing_a_segment_again_goes_on_until_the_run_is_done(comfy):
    prompt, last = training("pieces", checkpoint_every=0, keep_checkpoints=10)
    prompt[last] = {"class_type": "LTX2TrainSegment", "inputs": {**prompt[last]["inputs"], "segment_steps": 4}}
    prompt["shown"] = {"class_type": "PreviewAny", "inputs": {"source": [last, 3]}}
    reached = []
    for _ in range(2):
        outputs = comfy.run(prompt)
        reached.append(("".join(outputs["shown"]["text"]), outputs[last]["ltx2_run"][0]["steps"]))
    assert reached == [("4", 4), ("6", 6)] and steps(run_folder(comfy, "pieces")) == [4, 6]
    whole, key = training("whole", checkpoint_every=0)
    comfy.run(whole)
    ours, theirs = (load_file(comfy.base / "models" / "loras" / f"{n}.safetensors") for n in ("pieces", "whole"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


# Node -> its widgets, none at its default, and what the run file says of them.
METHODS = {
    "LTX2ConditioningSettings": (
        {"prefix_probability": 0.2, "prefix_frames": 1, "suffix_probability": 0.1, "suffix_frames": 1, "spatial_crop_probability": 0.3, "mask_probability": 0.2, "frozen_audio": 0.2,
         "frozen_video": 0.1, "reference_probability": 0.9, "spatial_crop_region": "0, 0, 2, 1", "mask_region": "1 1 2 2", "reference_spatial": 2, "reference_temporal": 3},
        {"conditioning": {"conditions": [
            {"kind": "prefix", "probability": 0.2, "frames": 1, "region": []}, {"kind": "suffix", "probability": 0.1, "frames": 1, "region": []},
            {"kind": "spatial_crop", "probability": 0.3, "frames": 0, "region": [0, 0, 2, 1]}, {"kind": "mask", "probability": 0.2, "frames": 0, "region": [1, 1, 2, 2]},
        ], "frozen_audio": 0.2, "frozen_video": 0.1, "reference": 0.9, "reference_spatial": 2, "reference_temporal": 3}},
    ),
    "LTX2ObjectiveSettings": (
        {"timesteps": "beta", "mean": 0.5, "std": 0.8, "shift": 3.0, "uniform_fraction": 0.2, "independent_audio": False, "loss": "huber", "huber_c": 0.2, "audio_only": False,
         "offsets": "*/faces/* -0.5", "alpha": 2.0, "beta": 3.0, "av_cross_timestep": "cross"},
        {"timesteps": {"kind": "beta", "mean": 0.5, "std": 0.8, "alpha": 2.0, "beta": 3.0, "shift": 3.0, "uniform_fraction": 0.2, "independent_audio": False, "offsets": [["*/faces/*", -0.5]]},
         "loss": "huber", "huber_c": 0.2, "av_cross_timestep": "cross"},
    ),
    "LTX2ScheduleSettings": (
        {"ema_decay": 0.9, "schedule_end": 0.1, "schedule_restarts": 1, "schedule_power": 3.0, "divergence_guard": 50.0},
        {"ema_decay": 0.9, "schedule_end": 0.1, "schedule_restarts": 1, "schedule_power": 3.0, "divergence_guard": 50.0},
    ),
    "LTX2Tread": (
        {"selection_ratio": 0.25, "start_layer": 0, "end_layer": -2}, {"tread": [{"selection_ratio": 0.25, "start_layer_idx": 0, "end_layer_idx": -2}]},
    ),
    "LTX2Crepa": (
        {"encoder": "", "block": 0, "weight": 0.3, "adjacent_distance": 2, "adjacent_tau": 2.0, "image_size": 224, "schedule": "cosine", "end_weight": 0.1, "similarity_threshold": 9.0,
         "drop_vae_encoder": True, "warmup_steps": 1, "decay_steps": 5, "power": 1.0, "cutoff_step": 6, "threshold_mode": "recoverable", "cumulative_neighbours": True,
         "normalise_neighbours": True, "normalise_by_frames": False, "spatial_align": False, "frames_batch": 2, "allow_download": True, "feature_source": "backbone", "teacher_block_index": 1},
        {"crepa": {"encoder": "", "block_index": 0, "weight": 0.3, "adjacent_distance": 2, "adjacent_tau": 2.0, "image_size": 224, "schedule": "cosine", "end_weight": 0.1,
                   "similarity_threshold": 9.0, "drop_vae_encoder": True, "warmup_steps": 1, "decay_steps": 5, "power": 1.0, "cutoff_step": 6, "threshold_mode": "recoverable",
                   "cumulative_neighbours": True, "normalise_neighbours": True, "normalise_by_frames": False, "spatial_align": False, "frames_batch": 2, "allow_download": True,
                   "feature_source": "backbone", "teacher_block_index": 1}},
    ),
    "LTX2ScheduledSampling": (
        {"max_step_offset": 2, "probability": 0.9, "start_step": 1, "ramp_steps": 2, "strategy": "biased_late", "sampling_steps": 10, "sampler": "dpm", "reflexflow": True, "anti_drift": 2.0,
         "exposure": 0.5, "probability_start": 0.4, "ramp_shape": "cosine", "order": 1, "flow_weight": 0.8},
        {"rollout": {"max_step_offset": 2, "probability": 0.9, "probability_start": 0.4, "probability_end": 0.9, "ramp_steps": 2, "start_step": 1, "ramp_shape": "cosine",
                     "strategy": "biased_late", "steps": 10, "sampler": "dpm", "order": 1}, "reflexflow": {"alpha": 0.5, "beta1": 2.0, "beta2": 0.8}},
    ),
}  # fmt: skip


def test_all_methods_in_a_row_train_and_stand_in_the_run_file_as_set(comfy):
    """Every widget of every method's node off its default; the run file beside the adapter says each, and repeats the run."""
    prompt, last = training("methods", steps=3)
    lora = {"rank": 2, "alpha": 3.0, "dropout": 0.1, "patterns": "*.attn1.to_q, *.audio_ff.*", "kind": "lora", "rslora": True, "factor": 4, "init": "gaussian"}
    for node in prompt.values():
        if node["class_type"] == "LTX2LoRASettings":
            node["inputs"].update(lora)
    wire = prompt[last]["inputs"]["settings"]
    for kind, (widgets, _) in METHODS.items():
        frozen = json.loads((PACK / "tests" / "host" / "schemas" / f"{kind}.json").read_text(encoding="utf-8"))
        assert widgets.keys() == {i["name"] for i in frozen["inputs"] if i["widget"]}, kind
        prompt[kind], wire = {"class_type": kind, "inputs": {**widgets, "settings": wire}}, [kind, 0]
    prompt[last]["inputs"]["settings"] = wire
    comfy.run(prompt)
    loras = comfy.base / "models" / "loras"
    record = json.loads((loras / "methods.json").read_text(encoding="utf-8"))
    for _, said in METHODS.values():
        assert {name: record["train"][name] for name in said} == said
    assert record["lora"] == {**{k: v for k, v in lora.items() if k != "patterns"}, "targets": ["*.attn1.to_q", "*.audio_ff.*"]}
    assert main(["train", str(loras / "methods.json"), "--device", "cpu"]) == 0
    ours, again = load_file(loras / "methods.safetensors"), load_file(loras / "methods_again" / "methods.safetensors")
    assert ours.keys() == again.keys() and all(torch.allclose(ours[k].float(), again[k].float(), atol=1e-3, rtol=1e-2) for k in ours)


def test_previews_are_made_and_told_and_the_run_file_repeats_the_run(comfy):
    prompt, last = training("watched")
    with_preview(prompt, last)
    with comfy.events("watcher") as events:
        done = comfy.submit(prompt, "watcher")
        told = [data for kind, data in events.until_end(done) if kind == "ltx2.preview"]
    folder = run_folder(comfy, "watched")
    assert [(t["run"], t["step"], t["file"], t["node"]) for t in told] == [("watched", s, f"previews/step-{s:06d}-fox.mp4", last) for s in (0, 3, 6)]
    for data in told:
        found = probe(folder / data["file"])
        assert (found.width, found.height) == (96, 64)
    loras = comfy.base / "models" / "loras"
    record = json.loads((loras / "watched.json").read_text(encoding="utf-8"))
    assert record["version"] == 1 and record["train"]["steps"] == 6
    assert main(["train", str(loras / "watched.json"), "--device", "cpu"]) == 0
    ours, again = load_file(loras / "watched.safetensors"), load_file(loras / "watched_again" / "watched.safetensors")
    assert ours.keys() == again.keys()
    # Another process with other threads: equal up to rounding.
    assert all(torch.allclose(ours[k].float(), again[k].float(), atol=1e-3, rtol=1e-2) for k in ours)


def test_an_adapter_to_begin_with_is_taken_as_it_is_in_its_file(comfy):
    """At a strength of 1, continued from where it was; at another one it is refused before anything is loaded."""
    prompt, last = training("begun", steps=2)
    comfy.run(prompt)
    begun = load_file(comfy.base / "models" / "loras" / "begun.safetensors")
    for strength in (0.5, 1.0):
        again, key = training("continued", steps=1, learning_rate=0.0)
        again["load"] = {"class_type": "LTX2LoadAdapter", "inputs": {"adapter": "begun.safetensors", "strength": strength, "hub_file": "", "allow_download": False, "published": "(none)"}}
        again[key]["inputs"]["adapter"] = ["load", 0]
        said = error_of(comfy.wait(comfy.submit(again)))
        assert said == "success" if strength == 1 else "begun as it is in its file, and its strength is 0.5; set that strength to 1." in said
    ours = load_file(comfy.base / "models" / "loras" / "continued.safetensors")
    assert ours.keys() == begun.keys() and all(torch.allclose(ours[k].float(), begun[k].float(), atol=1e-5, rtol=1e-2) for k in ours)
