"""python -m ltx2core adapter: look into adapter files, rename, merge and resize them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..errors import LTX2Error

_DTYPES = ("bf16", "float16", "float32")


def _dtype(name: str):
    import torch

    return {"bf16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[name]


def _load(path: Path):
    from ..checkpoint.adapter import load_adapter

    adapter = load_adapter(path, family=None)
    if adapter.left_out:
        print(f"{path.name}: {len(adapter.left_out)} layers of the text connectors are left out, {adapter.left_out[0]} first.", file=sys.stderr)
    return adapter


def _save(arguments: argparse.Namespace, adapter, text: str) -> None:
    from ..checkpoint.adapter import save_adapter

    out = Path(arguments.out)
    if out.suffix != ".safetensors":
        raise LTX2Error(f"{out.name} must end with .safetensors; give such a name.")
    if out.exists() and not arguments.force:
        raise LTX2Error(f"{out} is there already; give another name, or --force to write over it.")
    save_adapter(out, adapter, _dtype(arguments.dtype), arguments.to)
    print(f"{out}: {text}")


def _inspect(arguments: argparse.Namespace) -> None:
    from ..checkpoint.adapter_info import describe_adapter, inspect_adapter

    info = inspect_adapter(arguments.file)
    print(json.dumps(info.to_dict(), indent=1, ensure_ascii=False) if arguments.json else describe_adapter(info))


def _convert(arguments: argparse.Namespace) -> None:
    adapter = _load(arguments.file)
    _save(arguments, adapter, f"{len(adapter.layers)} layers in {arguments.to} naming.")


def _merge(arguments: argparse.Namespace) -> None:
    from ..checkpoint.adapter_tools import merge

    strengths = arguments.strength or [1.0] * len(arguments.files)
    if len(strengths) != len(arguments.files):
        raise LTX2Error(f"{len(arguments.files)} adapters have {len(strengths)} strengths; give one strength for each.")
    made = merge([(_load(f), s) for f, s in zip(arguments.files, strengths, strict=True)], Path(arguments.out).stem, arguments.rank)
    _save(arguments, made.adapter, f"{_ranks(made.adapter)}, {made.energy or 'nothing is lost'}.")


def _resize(arguments: argparse.Namespace) -> None:
    from ..checkpoint.adapter_tools import resize

    made = resize(_load(arguments.file), arguments.rank, arguments.keep)
    _save(arguments, made.adapter, f"{_ranks(made.adapter)}, {made.energy}.")


def _ranks(adapter) -> str:
    low, high = adapter.ranks[0], adapter.ranks[-1]
    return f"rank {low}" if low == high else f"ranks {low} to {high}"


def _writes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--to", choices=("original", "diffusers", "kohya"), default="original", help="naming of the file; original is what ComfyUI and Lightricks read")
    command.add_argument("--dtype", choices=_DTYPES, default="bf16", help="type of the numbers in the file")
    command.add_argument("--force", action="store_true", help="write over a file that is there")


def add(commands: argparse._SubParsersAction) -> None:
    tools = commands.add_parser("adapter", help="inspect, convert, merge or resize adapters").add_subparsers(dest="tool", required=True)
    inspect = tools.add_parser("inspect", help="kind, rank, alpha, targets, family and reference factors of a file")
    inspect.add_argument("file", type=Path)
    inspect.add_argument("--json", action="store_true", help="for programs")
    inspect.set_defaults(do=_inspect)
    convert = tools.add_parser("convert", help="write an adapter in another naming")
    convert.add_argument("file", type=Path)
    convert.add_argument("out")
    convert.set_defaults(do=_convert)
    merge = tools.add_parser("merge", help="several adapters as one: exact by joined ranks, or of one rank by SVD")
    merge.add_argument("files", type=Path, nargs="+")
    merge.add_argument("--out", required=True)
    merge.add_argument("--strength", type=float, nargs="+", help="one for each file, in their order; 1 by default")
    merge.add_argument("--rank", type=int, help="bring the sum to this rank; without it ranks are put side by side")
    merge.set_defaults(do=_merge)
    resize = tools.add_parser("resize", help="bring an adapter to a lower rank by SVD and say what is kept")
    resize.add_argument("file", type=Path)
    resize.add_argument("out")
    resize.add_argument("--rank", type=int, help="the new rank")
    resize.add_argument("--keep", type=float, help="or the part of the energy to keep, such as 0.95; each layer gets the rank it needs")
    resize.set_defaults(do=_resize)
    for command in (convert, merge, resize):
        _writes(command)
