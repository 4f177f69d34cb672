"""What docs/headless.md says is what happens: its blocks are taken from the page and run against a real ComfyUI."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from comfy_host import PACK, QUICK, host_environment, host_python, shipped

from ltx2core.checkpoint.adapter import load_adapter
from ltx2core.media.probe import probe

pytestmark = pytest.mark.host
PAGE = (PACK / "docs" / "headless.md").read_text(encoding="utf-8")
LONG = {**QUICK["LTX2TrainSettings"], "steps": 60, "checkpoint_every": 0, "validate_every": 0}


def block(name):
    return re.search(rf"<!-- test: {re.escape(name)} -->\n```\w*\n(.*?)\n```", PAGE, re.DOTALL).group(1)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The two scripts of the page, as a reader would save them."""
    folder = tmp_path_factory.mktemp("scripts")
    for name in ("run_graph.py", "interrupt.py"):
        (folder / name).write_text(block(name), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def start(comfy, comfy_root, scripts):
    """``start(script, *arguments)`` -> a process of the host's Python whose output is read."""

    def started(script, *arguments):
        command = [host_python(comfy_root), str(scripts / script), comfy.url, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", env=host_environment())

    return started


def graph(folder, name, **changes):
    """A shipped training graph, small, whose run is called ``name``, as a file."""
    prompt = shipped("first_lora", **{**QUICK, **changes}, LTX2TrainLoRA={"name": name})
    path = folder / f"{name}.json"
    path.write_text(json.dumps(prompt), encoding="utf-8")
    return path


def finished(process, seconds=240):
    out, _ = process.communicate(timeout=seconds)
    return process.returncode, out


def steps_said(output):
    return [int(n) for n in re.findall(r"^train (\d+)/", output, re.MULTILINE)]


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """Exit status and output of the script on the shipped training graph."""
    folder = tmp_path_factory.mktemp("whole")
    return finished(start("run_graph.py", graph(folder, "headless_whole"), folder / "results"))


def test_some_lines_submit_follow_and_fetch(comfy, whole):
    code, out = whole
    assert code == 0, out
    assert steps_said(out)[-1] == 6 and "'loss'" in out
    written = [Path(line.removeprefix("wrote ")) for line in out.splitlines() if line.startswith("wrote ")]
    assert written and all(path.is_file() for path in written)
    (video,) = [path for path in written if path.suffix == ".mp4"]
    assert probe(video).frames == 17
    load_adapter(comfy.base / "models" / "loras" / "headless_whole.safetensors")


def test_interrupt_and_go_on(comfy, start, tmp_path):
    path = graph(tmp_path, "headless_cut", LTX2TrainSettings=LONG)
    running = start("run_graph.py", path, tmp_path / "results")
    seen = []
    for line in running.stdout:
        seen.append(line)
        if line.startswith("train 5/"):
            break
    assert finished(start("interrupt.py"))[0] == 0
    code, rest = finished(running)
    assert code == 1 and "execution_interrupted" in rest, "".join(seen) + rest
    assert not (comfy.base / "models" / "loras" / "headless_cut.safetensors").exists()
    reached = len([m for m in run_events(comfy, "headless_cut") if m["event"] == "step"])
    assert 5 <= reached < 60
    code, out = finished(start("run_graph.py", path, tmp_path / "results"))
    assert code == 0, out
    assert f"goes on at step {reached} of 60" in out and steps_said(out)[-1] == 60
    assert (comfy.base / "models" / "loras" / "headless_cut.safetensors").is_file()


def run_events(comfy, name):
    text = (comfy.base / "output" / "ltx2_runs" / name / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_bad_value_ends_with_its_sentence(start, tmp_path):
    code, out = finished(start("run_graph.py", graph(tmp_path, "headless_bad", LTX2VideoDataset={"folder": "nowhere"}), tmp_path))
    assert code == 1 and "There is no folder" in out, out
    path = graph(tmp_path, "headless_refused", LTX2TrainSettings={"steps": 0})
    code, out = finished(start("run_graph.py", path, tmp_path))
    assert code == 1 and "refused" in out and "steps" in out, out


def test_comfy_cli_runs_a_shipped_graph(comfy, tmp_path):
    program = os.environ.get("COMFY_CLI") or shutil.which("comfy")
    if program is None:
        pytest.skip("comfy-cli is not installed: pip install comfy-cli, or set COMFY_CLI to its comfy program")
    path = graph(tmp_path, "headless_cli")
    words = shlex.split(block("comfy-cli"))
    assert words[0] == "comfy" and "workflows/api/first_lora.json" in words
    replaced = {"workflows/api/first_lora.json": str(path), "8188": str(comfy.port)}
    # A home of its own, so that no settings of the person are read or written.
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    command = [program, *(replaced.get(w, w) for w in words[1:])]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=240, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    load_adapter(comfy.base / "models" / "loras" / "headless_cli.safetensors")


def test_the_page_names_routes_and_places_that_exist(comfy, whole):
    metrics = comfy.get("/ltx2/runs/headless_whole/metrics")
    assert [s["step"] for s in metrics["steps"]] == [1, 2, 3, 4, 5, 6]
    assert (comfy.base / "output" / "ltx2_runs" / "headless_whole" / "metrics.jsonl").is_file()
    kept = [out["ltx2_run"] for run in comfy.get("/history").values() for out in run["outputs"].values() if "ltx2_run" in out]
    assert {"adapter", "steps", "seconds", "peak_bytes", "validation"} <= kept[-1][0].keys()


def test_help_and_names_are_served_as_the_front_end_asks(comfy):
    """Paths as the front-end builds them: help by the node's name beside its pictures, names of all packs in one answer."""
    page = comfy.get("/extensions/ltx2-studio/docs/LTX2TrainLoRA.md").decode()
    assert page.startswith("# LTX-2 Train LoRA")
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert comfy.get(f"/extensions/ltx2-studio/docs/{picture}").startswith(b"<svg")
    names = comfy.get("/i18n")
    info = {k for k in comfy.object_info() if k.startswith("LTX2")}
    for language in ("en", "ja", "zh"):
        assert info <= names[language]["nodeDefs"].keys()
        assert names[language]["dataTypes"]["LTX2_ADAPTER"]
