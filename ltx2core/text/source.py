"""A text encoder on disk, opened by its headers: a Hugging Face folder or ComfyUI's single file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..checkpoint.combined import fingerprint
from ..checkpoint.header import CheckpointError, Header, read_header
from ..checkpoint.keymap import KeyMap

TOKENIZER_KEY = "spiece_model"
_EMBEDDING = "embed_tokens.weight"
# Where the language model's weights lie: ComfyUI's file, a text-only folder, and the two layouts with a vision tower.
_PREFIXES = ("model.language_model.", "language_model.model.", "model.", "")
# What every Gemma3 has and a single file does not say (published configuration of google/gemma-3-12b-it).
_GEMMA3 = {
    "sliding_window": 1024,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    },
}
_NOT_ARGUMENTS = ("model_type", "architectures", "torch_dtype", "dtype", "transformers_version")


@dataclass(frozen=True)
class TextEncoderSource:
    """What the wire LTX2_TEXT_ENCODER carries: no weights, only where they are.

    weights: one header, or one a shard. config: keyword arguments of transformers' Gemma3TextConfig.
    tokenizer: its file, None when it lies inside the weights' file.
    """

    path: Path
    weights: tuple[Header, ...]
    prefix: str
    config: Mapping[str, object] = field(repr=False)
    tokenizer: Path | None = None

    @property
    def hidden_size(self) -> int:
        return self.config["hidden_size"]

    @property
    def num_layers(self) -> int:
        return self.config["num_hidden_layers"]

    @property
    def keymap(self) -> KeyMap:
        """File keys of the language model to transformers' Gemma3TextModel; the vision tower belongs to nobody."""
        return KeyMap(prefixes=((self.prefix, ""),), excluded=_foreign(self.prefix))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the weights that are used (by sample), the configuration and the tokenizer."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for header in self.weights:
            tensors = {k: v for k, v in header.tensors.items() if self.keymap.owns(k) or k == TOKENIZER_KEY}
            digest.update(fingerprint(header, tensors).encode())
        if self.tokenizer is not None:
            digest.update(self.tokenizer.read_bytes())
        return digest.hexdigest()


def _foreign(prefix: str) -> tuple[str, ...]:
    """Keys under the language model's prefix that are not its own."""
    return tuple(prefix + name for name in ("vision_tower.", "multi_modal_projector.", "vision_model.", "lm_head.")) + (TOKENIZER_KEY, "scaled_fp8")


def _prefix(tensors: Mapping[str, object], path: Path) -> str:
    for prefix in _PREFIXES:
        if prefix + _EMBEDDING in tensors:
            return prefix
    raise CheckpointError(f"{path.name} holds no Gemma3 language model; choose the Gemma3 12B text encoder.")


def _config_from_shapes(header: Header, prefix: str) -> dict:
    """Sizes that a single file shows only by its tensors."""
    tensors = header.tensors

    def shape(name: str) -> tuple[int, ...]:
        if prefix + name not in tensors:
            raise CheckpointError(f"{header.path.name}: missing key {prefix + name}; the file is incomplete or is not Gemma3.")
        return tensors[prefix + name].shape

    # A 4-bit weight packs its columns, so only rows and norms are read here.
    head_dim = shape("layers.0.self_attn.q_norm.weight")[0]
    vocabulary, hidden = shape(_EMBEDDING)
    layers = 1 + max(int(k.removeprefix(prefix + "layers.").split(".")[0]) for k in tensors if k.startswith(prefix + "layers."))
    return {
        **_GEMMA3,
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": shape("layers.0.mlp.gate_proj.weight")[0],
        "num_hidden_layers": layers,
        "num_attention_heads": shape("layers.0.self_attn.q_proj.weight")[0] // head_dim,
        "num_key_value_heads": shape("layers.0.self_attn.k_proj.weight")[0] // head_dim,
        "head_dim": head_dim,
        "query_pre_attn_scalar": head_dim,
    }


def _open_file(path: Path) -> TextEncoderSource:
    header = read_header(path)
    prefix = _prefix(header.tensors, path)
    if TOKENIZER_KEY not in header.tensors:
        raise CheckpointError(f"{path.name} has no tokenizer inside ({TOKENIZER_KEY}); use the Gemma3 file that is made for ComfyUI, or a Hugging Face folder.")
    return TextEncoderSource(path, (header,), prefix, _config_from_shapes(header, prefix))


def _folder_config(path: Path) -> dict:
    """The language model's part of config.json."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        text, kind = config.get("text_config", config), config.get("model_type", "model without a type")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} has no readable config.json ({error}); choose the whole Gemma3 folder of the hub.") from error
    if not str(kind).startswith("gemma3"):
        raise CheckpointError(f"{path.name} is a {kind}, not Gemma3; LTX-2 19B needs Gemma3 12B.")
    if missing := sorted({"hidden_size", "num_hidden_layers"} - text.keys()):
        raise CheckpointError(f"{path / 'config.json'} lacks {', '.join(missing)}; download the folder again.")
    return {k: v for k, v in text.items() if k not in _NOT_ARGUMENTS}


def _weight_files(path: Path) -> list[Path]:
    """The shards that the folder's index names, or every .safetensors file where there is no index."""
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        files = sorted(path.glob("*.safetensors"))
        if not files:
            raise CheckpointError(f"{path} has no .safetensors weights; download the folder again (other formats are not opened).")
        return files
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} cannot be read ({error}); download the folder again.") from error
    if missing := [name for name in names if not (path / name).is_file()]:
        raise CheckpointError(f"{path} lacks {missing[0]} ({len(missing)} of its {len(names)} weight files are missing); download the rest of the folder.")
    return [path / name for name in names]


def _tokenizer_file(path: Path) -> Path:
    """Beside the weights, or in the folder ``tokenizer`` next to them, as diffusers lays a pipeline out."""
    # tokenizer.model first: ComfyUI's file holds the same, so that both give the same ids.
    places = [folder / name for folder in (path, path.parent / "tokenizer") for name in ("tokenizer.model", "tokenizer.json")]
    found = next((p for p in places if p.is_file()), None)
    if found is None:
        raise CheckpointError(f"{path} has no tokenizer.model or tokenizer.json; download the whole folder.")
    return found


def _open_folder(path: Path) -> TextEncoderSource:
    config, files, tokenizer = _folder_config(path), _weight_files(path), _tokenizer_file(path)
    headers = tuple(read_header(f) for f in files)
    prefix = _prefix({k: v for h in headers for k, v in h.tensors.items()}, path)
    return TextEncoderSource(path, headers, prefix, config, tokenizer)


def open_text_encoder(path: str | os.PathLike) -> TextEncoderSource:
    """Open Gemma3 by its headers; no weight is read.

    Raises:
        CheckpointError: not Gemma3, incomplete, or without its tokenizer.
    """
    path = Path(path)
    return _open_folder(path) if path.is_dir() else _open_file(path)


def check_matches(source: TextEncoderSource, width: int, count: int) -> None:
    """Whether the checkpoint's connectors take this encoder's hidden states (``models.build.hidden_states_needed``).

    Raises:
        CheckpointError: says both sizes.
    """
    have = (source.hidden_size, source.num_layers + 1)
    if have != (width, count):
        raise CheckpointError(
            f"The text encoder {source.path.name} gives {have[1]} hidden states of width {have[0]}, but this checkpoint needs {count} of width {width}; "
            f"{'choose Gemma3 12B' if (width, count) == (3840, 49) else 'choose the text encoder that the checkpoint was made for'}."
        )
