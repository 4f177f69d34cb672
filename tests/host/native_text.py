"""A job of ``native_worker``: the host's own Gemma3, its tokenizer, and its 8-bit and 4-bit formats.

It names ``files`` (name -> single-file text encoder), ``prompts``, ``sizes`` (shapes to
quantise) and ``outputs``. Written there: ``<name>.<i>.tokens`` and ``.states`` [layers + 1, T, D] float32 a prompt, and
in ``quantised.safetensors`` beside it ``<format>.<i>.weight`` with its scales and, under ``expected``, what they stand for.
"""

import dataclasses
import json
from pathlib import Path

import comfy.ops
import comfy.utils
import torch
from comfy.quant_ops import QUANT_ALGOS, get_layout_class
from comfy.text_encoders.llama import Gemma3_12B_Config, Llama2_
from comfy.text_encoders.spiece_tokenizer import SPieceTokenizer
from safetensors.torch import save_file


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
def encoded(name, path, prompts):
    state, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    state, _ = comfy.utils.convert_old_quants(state, model_prefix="", metadata=metadata)
    tokenizer = SPieceTokenizer(state.pop("spiece_model"), add_bos=True, add_eos=False)
    model = host_model(state)
    results = {}
    for i, prompt in enumerate(prompts):
        tokens = torch.tensor([tokenizer(prompt)["input_ids"]])
        states = model(tokens, intermediate_output="all", final_layer_norm_intermediate=False, dtype=torch.float32)[1]
        results |= {f"{name}.{i}.tokens": tokens[0], f"{name}.{i}.states": states[0].contiguous()}
    return results


def quantised(sizes):
    tensors, generator = {}, torch.Generator().manual_seed(0)
    for kind in ("float8_e4m3fn", "float8_e5m2", "nvfp4"):
        layout = get_layout_class(QUANT_ALGOS[kind]["comfy_tensor_layout"])
        for i, size in enumerate(sizes):
            stored, params = layout.quantize(torch.randn(size, generator=generator), scale="recalculate")
            tensors |= {f"{kind}.{i}.weight": stored, f"expected.{kind}.{i}": layout.dequantize(stored, params)}
            if kind == "nvfp4":
                tensors |= {f"{kind}.{i}.weight_scale": params.block_scale, f"{kind}.{i}.weight_scale_2": params.scale}
            else:
                tensors[f"{kind}.{i}.weight_scale"] = params.scale
            tensors[f"{kind}.{i}.comfy_quant"] = torch.tensor(list(json.dumps({"format": kind}).encode()), dtype=torch.uint8)
    return {k: v.contiguous() for k, v in tensors.items()}


def carry_out(job):
    outputs, results = Path(job["outputs"]), {}
    for name, path in job["files"].items():
        results |= encoded(name, path, job["prompts"])
    save_file(results, outputs)
    save_file(quantised(job["sizes"]), outputs.with_name("quantised.safetensors"))
