"""The header's ``config`` to the constructor arguments of diffusers' classes.

The defaults for absent keys are those that the official loader uses for the same key.
"""

from __future__ import annotations

from ..errors import LTX2Error
from ..geometry import LTX2_COMPRESSION


def transformer_arguments(config: dict) -> dict:
    c = config.get("transformer", {})
    pos, audio_pos = c.get("positional_embedding_max_pos", [20, 2048, 2048]), c.get("audio_positional_embedding_max_pos", [20])
    return {
        "in_channels": c.get("in_channels", 128),
        "out_channels": c.get("out_channels", 128),
        "num_attention_heads": c.get("num_attention_heads", 32),
        "attention_head_dim": c.get("attention_head_dim", 128),
        "cross_attention_dim": c.get("cross_attention_dim", 4096),
        "audio_in_channels": c.get("audio_in_channels", 128),
        "audio_out_channels": c.get("audio_out_channels", 128),
        "audio_num_attention_heads": c.get("audio_num_attention_heads", 32),
        "audio_attention_head_dim": c.get("audio_attention_head_dim", 64),
        "audio_cross_attention_dim": c.get("audio_cross_attention_dim", 2048),
        "num_layers": c.get("num_layers", 48),
        "norm_eps": c.get("norm_eps", 1e-6),
        "caption_channels": c.get("caption_channels", 3840),
        "rope_theta": c.get("positional_embedding_theta", 10000.0),
        "rope_type": c.get("rope_type", "split"),
        "rope_double_precision": c.get("frequencies_precision") == "float64",
        "pos_embed_max_pos": pos[0],
        "base_height": pos[1],
        "base_width": pos[2],
        "audio_pos_embed_max_pos": audio_pos[0],
        "timestep_scale_multiplier": c.get("timestep_scale_multiplier", 1000),
        "cross_attn_timestep_scale_multiplier": c.get("av_ca_timestep_scale_multiplier", 1),
        "gated_attn": c.get("apply_gated_attention", False),
        "audio_gated_attn": c.get("apply_gated_attention", False),
        "cross_attn_mod": c.get("cross_attention_adaln", False),
        "audio_cross_attn_mod": c.get("cross_attention_adaln", False),
        "use_prompt_embeddings": not c.get("caption_proj_before_connector", False),
    }


def connector_arguments(config: dict, hidden_states: int, registers: int) -> dict:
    """``hidden_states``: how many text-encoder states the projection stacks (49 for Gemma3 12B); it and ``registers``
    are read from the weights' shapes, because the header does not name them."""
    c = config.get("transformer", {})
    heads, dim, layers = (c.get(k, d) for k, d in (("connector_num_attention_heads", 30), ("connector_attention_head_dim", 128), ("connector_num_layers", 2)))
    return {
        "caption_channels": c.get("caption_channels", 3840),
        "text_proj_in_factor": hidden_states,
        "video_connector_num_attention_heads": heads,
        "video_connector_attention_head_dim": dim,
        "video_connector_num_layers": layers,
        "video_connector_num_learnable_registers": registers,
        "audio_connector_num_attention_heads": c.get("audio_connector_num_attention_heads", heads),
        "audio_connector_attention_head_dim": c.get("audio_connector_attention_head_dim", dim),
        "audio_connector_num_layers": c.get("audio_connector_num_layers", layers),
        "audio_connector_num_learnable_registers": registers,
        "connector_rope_base_seq_len": c.get("connector_positional_embedding_max_pos", [4096])[0],
        "rope_theta": c.get("positional_embedding_theta", 10000.0),
        "rope_double_precision": c.get("frequencies_precision") == "float64",
        "rope_type": c.get("rope_type", "split"),
    }


def _blocks(blocks: list) -> list[tuple[str, dict]]:
    return [(name, {"num_layers": p} if isinstance(p, int) else dict(p)) for name, p in blocks]


_DOWN = {"compress_space_res": "spatial", "compress_time_res": "temporal", "compress_all_res": "spatiotemporal"}
_UP = {"compress_space": "spatial", "compress_time": "temporal", "compress_all": "spatiotemporal"}


def video_vae_arguments(config: dict) -> dict:
    """Encoder and decoder block lists of the file (resnets and resamplers in turn) as diffusers' parallel tuples."""
    c = config.get("vae", {})
    encoder, decoder = _blocks(c.get("encoder_blocks", [])), _blocks(c.get("decoder_blocks", []))[::-1]
    down, up = encoder[1::2], decoder[1::2]
    if not encoder or not decoder or {n for n, _ in encoder[::2] + decoder[::2]} != {"res_x"} or {n for n, _ in down} - set(_DOWN) or {n for n, _ in up} - set(_UP):
        raise LTX2Error("The video VAE of this file has blocks that are not those of LTX-2 2.0; choose an LTX-2 19B checkpoint.")
    latent = c.get("latent_channels", 128)
    widths, width = [], latent
    for _, p in down:
        width *= p.get("multiplier", 2)
        widths.append(width)
    base = c.get("decoder_base_channels", 128)
    up_widths = []
    for _, p in up[::-1]:
        base *= p.get("multiplier", 1)
        up_widths.append(base)
    return {
        "latent_channels": latent,
        "block_out_channels": tuple(widths),
        "down_block_types": ("LTX2VideoDownBlock3D",) * len(widths),
        "layers_per_block": tuple(p["num_layers"] for _, p in encoder[::2]),
        "spatio_temporal_scaling": (True,) * len(widths),
        "downsample_type": tuple(_DOWN[n] for n, _ in down),
        "decoder_block_out_channels": tuple(up_widths),
        # diffusers reads decoder widths and layers from the pixel end, the file from the latent end.
        "decoder_layers_per_block": tuple(p["num_layers"] for _, p in decoder[::2])[::-1],
        "decoder_spatio_temporal_scaling": (True,) * len(up),
        "decoder_inject_noise": tuple(p.get("inject_noise", False) for _, p in decoder[::2])[::-1],
        "upsample_type": tuple(_UP[n] for n, _ in up)[::-1],
        "upsample_residual": tuple(p.get("residual", False) for _, p in up)[::-1],
        "upsample_factor": tuple(p.get("multiplier", 1) for _, p in up)[::-1],
        "timestep_conditioning": c.get("timestep_conditioning", True),
        # diffusers would derive 64 and 16 from the number of blocks.
        "spatial_compression_ratio": LTX2_COMPRESSION.space,
        "temporal_compression_ratio": LTX2_COMPRESSION.time,
        "patch_size": c.get("patch_size", 4),
        "decoder_causal": c.get("causal_decoder", False),
        # The official code and ComfyUI let the shared key win for the encoder too (measured against the former).
        "encoder_spatial_padding_mode": c.get("spatial_padding_mode", c.get("encoder_spatial_padding_mode", "zeros")),
        "decoder_spatial_padding_mode": c.get("spatial_padding_mode", "reflect"),
    }


def audio_vae_arguments(config: dict) -> dict:
    audio = config.get("audio_vae", {})
    params = audio.get("model", {}).get("params", {})
    dd = params.get("ddconfig", {})
    pre = audio.get("preprocessing", {})
    stft, mel = pre.get("stft", {}), pre.get("mel", {})
    return {
        "base_channels": dd.get("ch", 128),
        "output_channels": dd.get("out_ch", 2),
        "ch_mult": tuple(dd.get("ch_mult", (1, 2, 4))),
        "num_res_blocks": dd.get("num_res_blocks", 2),
        "attn_resolutions": tuple(dd.get("attn_resolutions", ())) or None,
        "in_channels": dd.get("in_channels", 2),
        "resolution": dd.get("resolution", 256),
        "latent_channels": dd.get("z_channels", 8),
        "norm_type": dd.get("norm_type", "pixel"),
        "causality_axis": dd.get("causality_axis", "height"),
        "mid_block_add_attention": dd.get("mid_block_add_attention", True),
        "sample_rate": params.get("sampling_rate", 16000),
        "mel_hop_length": stft.get("hop_length", 160),
        "is_causal": stft.get("causal", True),
        "mel_bins": dd.get("mel_bins") or mel.get("n_mel_channels") or 64,
        "double_z": dd.get("double_z", True),
    }


def vocoder_arguments(config: dict) -> dict:
    c = config.get("vocoder", {})
    return {
        "hidden_channels": c.get("upsample_initial_channel", 1024),
        "upsample_kernel_sizes": c.get("upsample_kernel_sizes", [16, 15, 8, 4, 4]),
        "upsample_factors": c.get("upsample_rates", [6, 5, 2, 2, 2]),
        "resnet_kernel_sizes": c.get("resblock_kernel_sizes", [3, 7, 11]),
        "resnet_dilations": c.get("resblock_dilation_sizes", [[1, 3, 5], [1, 3, 5], [1, 3, 5]]),
        "output_sampling_rate": c.get("output_sampling_rate", 24000),
    }
