"""Runs inside the host's Python: the host's own Gemma3, its tokenizer, and its 8-bit and 4-bit formats.

    python native_text.py JOB.json

The job names ``root`` (ComfyUI), ``files`` (name -> single-file text encoder), ``prompts``, ``sizes`` (shapes to
quantise) and ``outputs``. Written there: ``<name>.<i>.tokens`` and ``.states`` [layers + 1, T, D] float32 a prompt, and
in ``quantised.safetensors`` beside it ``<format>.<i>.weight`` with its scales and, under ``expected``, what they stand for.
"""

import dataclasses
import json
import logging
import sys
from pathlib import Path

job = json.load(open(sys.argv[1], encoding="utf-8"))
sys.path.insert(0, job["root"])
sys.argv[1:] = ["--cpu", "--force-fp32", "--disable-xformers"]
logging.basicConfig(stream=sys.stderr, level=logging.WARNING, force=True)

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.ops  # noqa: E402
import comfy.utils  # noqa: E402
import torch  # noqa: E402
from comfy.quant_ops import QUANT_ALGOS, get_layout_class  # noqa: E402
from comfy.text_encoders.llama import Gemma3_12B_Config, Llama2_  # noqa: E402
from comfy.text_encoders.spiece_tokenizer import SPieceTokenizer  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def host_model(state):
    """The host's language model at the file's size; its class hard-codes only what all Gemma3 share."""
    config = dataclasses.replace(
        Gemma3_12B_Config(),
        vocab_size=state["model.embed_tokens.weight"].shape[0],
        hidden_size=state["model.embed_tokens.weight"].shape[1],
        intermediate_size=state["model.layers.0.mlp.gate_proj.weight"].shape[0],
        num_hidden_layers=len({k.split(".")[2] for k in state if k.startswith("model.layers.")}),
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    config.head_dim = state["model.layers.0.self_attn.q_norm.weight"].shape[0]
    quantised = comfy.utils.detect_layer_quantization(state, "model.")
    ops = comfy.ops.mixed_precision_ops(quantised, torch.float32, full_precision_mm=True) if quantised else comfy.ops.manual_cast
    model = Llama2_(config, device="cpu", dtype=torch.float32, ops=ops)
    missing, unexpected = model.load_state_dict(comfy.utils.state_dict_prefix_replace(state, {"model.": ""}, filter_keys=True), strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return model


@torch.inference_mode()
def encoded(name, path):
    state, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    state, _ = comfy.utils.convert_old_quants(state, model_prefix="", metadata=metadata)
    tokenizer = SPieceTokenizer(state.pop("spiece_model"), add_bos=True, add_eos=False)
    model = host_model(state)
    results = {}
    for i, prompt in enumerate(job["prompts"]):
        tokens = torch.tensor([tokenizer(prompt)["input_ids"]])
        states = model(tokens, intermediate_output="all", final_layer_norm_intermediate=False, dtype=torch.float32)[1]
        results |= {f"{name}.{i}.tokens": tokens[0], f"{name}.{i}.states": states[0].contiguous()}
    return results


def quantised():
    tensors, generator = {}, torch.Generator().manual_seed(0)
    for kind in ("float8_e4m3fn", "float8_e5m2", "nvfp4"):
        layout = get_layout_class(QUANT_ALGOS[kind]["comfy_tensor_layout"])
        for i, size in enumerate(job["sizes"]):
            stored, params = layout.quantize(torch.randn(size, generator=generator), scale="recalculate")
            tensors |= {f"{kind}.{i}.weight": stored, f"expected.{kind}.{i}": layout.dequantize(stored, params)}
            if kind == "nvfp4":
                tensors |= {f"{kind}.{i}.weight_scale": params.block_scale, f"{kind}.{i}.weight_scale_2": params.scale}
            else:
                tensors[f"{kind}.{i}.weight_scale"] = params.scale
            tensors[f"{kind}.{i}.comfy_quant"] = torch.tensor(list(json.dumps({"format": kind}).encode()), dtype=torch.uint8)
    return {k: v.contiguous() for k, v in tensors.items()}


outputs = Path(job["outputs"])
results = {}
for name, path in job["files"].items():
    results |= encoded(name, path)
save_file(results, outputs)
save_file(quantised(), outputs.with_name("quantised.safetensors"))
