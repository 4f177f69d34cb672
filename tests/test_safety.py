"""Nothing that can run code is ever opened: by reading the source, and by watching a whole run."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
# (last name of what is called) -> where it would be harmless
FORBIDDEN_CALLS = {("torch", "load"), ("torch", "save"), ("np", "load"), ("numpy", "load"), ("pd", "read_pickle")}
BUILTINS = {"eval", "exec", "compile", "__import__"}


def sources():
    return [p for folder in ("ltx2core", "nodes", "workflows") for p in (ROOT / folder).rglob("*.py")] + [ROOT / "__init__.py"]


def offences(text: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [n.name for n in node.names if n.name.split(".")[0] in FORBIDDEN_MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(node.module)
        if isinstance(node, ast.Call):
            call = node.func
            if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and (call.value.id, call.attr) in FORBIDDEN_CALLS:
                found.append(f"{call.value.id}.{call.attr}")
            if isinstance(call, ast.Name) and call.id in BUILTINS:
                found.append(call.id)
            found += [f"{k.arg}=True" for k in node.keywords if k.arg in ("allow_pickle", "trust_remote_code") and getattr(k.value, "value", None) is True]
    return found


@pytest.mark.parametrize("bad", ["import pickle", "from dill import loads", "torch.load(x)", "np.load(x, allow_pickle=True)", "eval(x)", "A.from_pretrained(x, trust_remote_code=True)"])
def test_the_search_finds(bad):
    assert offences(bad)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_source_opens_what_can_run_code(path):
    assert offences(path.read_text(encoding="utf-8")) == []


# A whole run with every way of unpickling shut; pickle's own class stays, because libraries derive from it.
WATCHED = """
import json, pickle, sys
from pathlib import Path
import torch
from ltx2core.cli import main
import diffusers, transformers, peft

def refuse(*args, **kwargs):
    raise SystemExit("unpickled something")

for name in ("load", "loads", "Unpickler"):
    setattr(pickle, name, refuse)
torch.load = refuse
torch.serialization.load = refuse
for command, run in (("check", 1), ("train", 1), ("sample", 1), ("train", 2)):
    code = main([command, sys.argv[run], *([] if command == "check" else ["--device", "cpu"])])
    if code:
        sys.exit(code)
"""


def test_a_whole_run_unpickles_nothing(tmp_path):
    from ltx2core.demo_clips import write_demo_clips
    from ltx2core.tiny import write_tiny_checkpoint
    from ltx2core.tiny_gemma import write_tiny_gemma

    size = {"width": 96, "height": 64, "frames": 9}
    write_tiny_checkpoint(tmp_path / "tiny.safetensors")
    write_tiny_gemma(tmp_path / "gemma.safetensors")
    write_demo_clips(tmp_path / "clips", count=2)
    run = {
        "checkpoint": "tiny.safetensors", "text_encoder": "gemma.safetensors", "output": "out", "dataset": {"folder": "clips", **size},
        "train": {"steps": 2, "dtype": "float32", "checkpoint_every": 1, "validate_every": 0},
        "samples": [{"name": "first", "prompt": "A red circle.", "settings": {**size, "steps": 1, "video_cfg": 1.0}}],
    }  # fmt: skip
    # The longer one goes on with the first, whose saved state it reads.
    runs = {"run": run, "longer": {**run, "train": {**run["train"], "steps": 3}}}
    for name, values in runs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    command = [sys.executable, "-c", WATCHED, *(str(tmp_path / f"{name}.json") for name in runs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, encoding="utf-8", cwd=ROOT)
    assert done.returncode == 0 and "goes on at step 2 of 3" in done.stderr, done.stderr[-3000:]
    assert (tmp_path / "out" / "first.mp4").is_file()


def test_other_formats_of_weights_are_refused(tmp_path):
    """Files that torch.load would run code from, under names that the loaders take."""
    import torch

    from ltx2core.checkpoint.adapter import load_adapter
    from ltx2core.checkpoint.combined import open_checkpoint
    from ltx2core.errors import LTX2Error
    from ltx2core.text.source import open_text_encoder

    path = tmp_path / "model.safetensors"
    torch.save({"x": torch.ones(3)}, path)
    for opener in (open_checkpoint, open_text_encoder, load_adapter):
        with pytest.raises(LTX2Error, match="safetensors"):
            opener(path)


def test_a_header_is_checked_before_anything_is_allocated(tmp_path):
    """A file of a kilobyte that claims a tensor of an exabyte, overlapping tensors, or a header of 90 MB."""
    from ltx2core.checkpoint.header import CheckpointError, read_header

    def write(entries, data=b"\0" * 16, length=None):
        blob = json.dumps(entries).encode()
        (tmp_path / "x.safetensors").write_bytes((length or len(blob)).to_bytes(8, "little") + blob + data)
        return tmp_path / "x.safetensors"

    def entry(begin, end, shape, dtype="F32"):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    assert read_header(write({"a": entry(0, 16, [4])})).tensors["a"].numel == 4
    for entries in (
        {"a": entry(0, 1 << 60, [1 << 58])}, {"a": entry(0, 16, [1 << 58])}, {"a": entry(0, 12, [3]), "b": entry(4, 16, [3])},
        {"a": entry(4, 16, [3])}, {"a": entry(0, 8, [2])}, {"a": entry(0, 16, [-4])}, {"a": entry(0, 16, [4.0])}, {"a": entry(True, 16, [4])},
        [1, 2], "text", {"a": 3}, {"__metadata__": {"config": 3}, "a": entry(0, 16, [4])}, {"__metadata__": [1], "a": entry(0, 16, [4])},
    ):  # fmt: skip
        with pytest.raises(CheckpointError):
            read_header(write(entries))
    for length in (90_000_000, 1 << 62, (1 << 64) - 1):
        with pytest.raises(CheckpointError):
            read_header(write({"a": entry(0, 16, [4])}, length=length))
