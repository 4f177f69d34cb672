"""A custom node for the tests, copied beside the pack in the scratch host: it calls the host services and says what it saw."""

import importlib
import json
import sys
import time

import torch

PACK = next(name for name in sys.modules if name.endswith("ltx2-studio"))


def pack(name):
    """A module of the pack, which the host keeps under a name made from its path."""
    return importlib.import_module(f"{PACK}.{name}")


def place(module):
    from comfy import model_management as management

    held = [patcher.model for patcher in management.loaded_models()]
    return {
        "device": str(next(module.parameters()).device),
        "managed": any(module in box.modules() for box in held),
        "inference": torch.is_inference_mode_enabled(),
        "inference_weights": any(p.is_inference() for p in module.parameters()),
    }


def gradient(module):
    with torch.enable_grad():
        x = torch.ones(1, 64, device=module[0].weight.device)
        module[0].weight.requires_grad_(True)
        module(x).sum().backward()
        norm = module[0].weight.grad.norm().item()
        module[0].weight.requires_grad_(False)
    return norm


def residency(**_):
    from comfy import model_management as management

    residency = pack("nodes.host.context").host().residency
    with torch.inference_mode(False):
        first, second = (torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)).requires_grad_(False) for _ in range(2))
    kept = first[0].weight.clone()
    seen = {"expected": str(management.get_torch_device()), "said": str(residency.device), "before": place(first)}
    with residency.use(first):
        with residency.use(second, working_bytes=1 << 20):
            seen["nested_first"], seen["nested_second"] = place(first), place(second)
    seen["after"] = place(first)
    management.unload_all_models()
    seen["evicted"] = place(first)
    with residency.use(first) as module, torch.inference_mode(False):
        seen["again"], seen["same_module"], seen["gradient"] = place(first), module is first, gradient(first)
    residency.release(first)
    residency.release(second)
    residency.release(second)
    seen["released"] = place(first)
    seen["same_weights"] = torch.equal(first[0].weight.cpu(), kept.cpu())
    try:
        with residency.use(first):
            raise KeyError("a failure inside the block")
    except KeyError:
        with residency.use(second):
            seen["after_failure"] = place(second)
    return seen


def pressure(**_):
    """A model of the host's and one of ours, each needing the device whole."""
    from comfy import model_management as management
    from comfy.model_patcher import ModelPatcher

    residency = pack("nodes.host.context").host().residency
    device = residency.device
    with torch.inference_mode(False):
        ours, theirs = (torch.nn.Sequential(torch.nn.Linear(1024, 1024)) for _ in range(2))
    patcher = ModelPatcher(theirs, load_device=device, offload_device=torch.device("cpu"))
    whole = management.get_total_memory(device)
    management.load_models_gpu([patcher])
    seen = {"device": device.type, "theirs": place(theirs)["device"]}
    with residency.use(ours, working_bytes=whole):
        seen |= {"ours": place(ours)["device"], "theirs_evicted": place(theirs)["device"]}
    management.free_memory(whole, device)
    management.load_models_gpu([patcher])
    seen |= {"theirs_again": place(theirs)["device"], "ours_evicted": place(ours)["device"]}
    with residency.use(ours):
        # Outer blocks keep their modules, however much an inner one needs.
        with residency.use(torch.nn.Linear(8, 8), working_bytes=whole):
            seen["outer"] = place(ours)
    residency.release(ours)
    return seen


def progress(**_):
    from PIL import Image

    Progress = pack("ltx2core.protocols").Progress
    reporter = pack("nodes.host.context").host().reporter
    for done in (1, 2, 3):
        picture = Image.new("RGB", (64, 32), (255, 0, 0)) if done == 2 else None
        reporter.progress(Progress("probe", done, 3, "a step", {"loss": 0.5 / done}, picture))
    reporter.progress(Progress("second", 7, 9))
    for level in ("info", "warning"):
        reporter.message(f"A sentence of level {level}.", level)
    return {}


def stop(raises: str, report: str, **_):
    """Works until Cancel is pressed, then "saves", then ends as ``raises`` says."""
    protocols = pack("ltx2core.protocols")
    with pack("nodes.base").running() as host:
        for done in range(1, 3000):
            host.reporter.progress(protocols.Progress("probe", done, 3000))
            if host.stop.requested():
                with open(report, "w", encoding="utf-8") as file:
                    json.dump({"steps": done, "still_requested": host.stop.requested()}, file)
                if raises == "ours":
                    raise protocols.Interrupted("Stopped.")
                host.stop.reraise()
            time.sleep(0.02)
    return {}


def paths(names, missing, **_):
    import folder_paths

    found = pack("nodes.host.context").host().paths
    try:
        found.checkpoint(missing)
        error = None
    except pack("ltx2core.errors").LTX2Error as raised:
        error = str(raised)
    return {
        "error": error,
        "listed_loras": folder_paths.get_folder_paths("loras"),
        "loras_dir": str(found.loras_dir()),
        "output_dir": str(found.output_dir()),
        "cache_dir": str(found.cache_dir()),
        **{name: str(getattr(found, kind)(name)) for kind, name in names},
    }


def trace(**_):
    """What a node that ran before could have left changed: the host's and torch's functions and classes, modes, flags, hooks."""
    import comfy.ldm.lightricks.av_model
    import comfy.model_patcher
    import comfy.ops
    import comfy.samplers
    from comfy import model_management as management

    places = (torch, torch.nn.functional, management, comfy.model_patcher, comfy.ops, comfy.samplers, comfy.ldm.lightricks.av_model)
    places += (torch.nn.Module, torch.nn.Linear, torch.Tensor, comfy.model_patcher.ModelPatcher, comfy.ops.disable_weight_init.Linear)
    functions = {f"{p.__name__}.{n}": id(v) for p in places for n, v in vars(p).items() if callable(v) or isinstance(v, (staticmethod, classmethod))}
    theirs = [p.model for p in management.loaded_models() if type(p.model).__name__ != "_Box"]
    return {
        "functions": functions, "in_training": getattr(management, "in_training", False), "gradients": torch.is_grad_enabled(), "dtype": str(torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(), "hooked": sum(bool(m._forward_hooks or m._forward_pre_hooks) for model in theirs for m in model.modules()),
        "trainable": sum(p.requires_grad for p_ in management.loaded_models() if type(p_.model).__name__ == "_Box" for p in p_.model.parameters()),
    }


ACTIONS = {f.__name__: f for f in (residency, pressure, progress, stop, paths, trace)}


class TestProbe:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "testing", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"action": (list(ACTIONS),), "values": ("STRING", {"default": "{}"})}}

    def run(self, action, values):
        return {"ui": {"text": [json.dumps(ACTIONS[action](**json.loads(values)))]}}


NODE_CLASS_MAPPINGS = {"TestProbe": TestProbe}
