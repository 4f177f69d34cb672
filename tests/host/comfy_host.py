"""Starts a real ComfyUI with this pack on a free port and a scratch base directory, and talks to it over HTTP.

Used by the tests in this folder and by ``make demo``; no test framework is imported here.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from comfy_events import EventStream
from comfy_python import ENABLE, PACK, HostError, find_comfyui, has_gpu, host_environment, host_python

__all__ = ["ENABLE", "PACK", "PACK_NAME", "ComfyHost", "HostError", "error_of", "find_comfyui", "host_environment", "host_python", "link_pack"]

PACK_NAME = "ltx2-studio"
CLIENT = "ltx2-tests"


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def link_pack(base: Path) -> None:
    """Put the pack into ``base/custom_nodes``: a link, or a copy where links are not allowed (Windows)."""
    target = base / "custom_nodes" / PACK_NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(PACK, target_is_directory=True)
    except OSError:
        shutil.copytree(PACK, target, ignore=shutil.ignore_patterns(".git", ".venv", "demo-out", "__pycache__"))


@dataclass
class ComfyHost:
    """``with ComfyHost(base) as host``: a running ComfyUI whose models, inputs and outputs lie under ``base``."""

    base: Path
    root: Path | None = None
    extra: tuple[str, ...] = ()
    port: int = field(default_factory=_free_port)
    _process: subprocess.Popen | None = None

    def __enter__(self) -> ComfyHost:
        self.root = self.root or find_comfyui()
        if self.root is None:
            raise HostError(f"No ComfyUI was found; {ENABLE}.")
        python = host_python(self.root)
        for name in ("models/checkpoints", "models/text_encoders", "models/loras", "input", "output", "temp", "user"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        if not (self.base / "custom_nodes" / PACK_NAME).exists():
            link_pack(self.base)
        command = [
            python, str(self.root / "main.py"), "--listen", "127.0.0.1", "--port", str(self.port), "--base-directory", str(self.base),
            "--database-url", f"sqlite:///{(self.base / 'user' / 'comfy.db').as_posix()}", "--disable-api-nodes", "--disable-auto-launch",
            *([] if has_gpu(self.root) else ["--cpu"]), *self.extra,
        ]  # fmt: skip
        with self.log_path.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=host_environment(), cwd=self.root)
        try:
            self._wait_until_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def kill(self) -> None:
        """As a power cut would."""
        self._process.kill()
        self._process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.base / "comfy.log"

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def _wait_until_up(self, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise HostError(f"ComfyUI stopped while starting; its last lines:\n{self.log[-2000:]}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.3)
        raise HostError(f"ComfyUI did not answer within {seconds:g} s; its last lines:\n{self.log[-2000:]}")

    def get(self, path: str, **query: str):
        text = f"?{urllib.parse.urlencode(query)}" if query else ""
        with urllib.request.urlopen(self.url + path + text, timeout=60) as answer:
            body = answer.read()
            return json.loads(body) if "json" in answer.headers.get("Content-Type", "") else body

    def post(self, path: str, value: object) -> dict:
        request = urllib.request.Request(self.url + path, json.dumps(value).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            raise HostError(f"{path} was refused: {error.read().decode(errors='replace')}") from error
        return json.loads(body) if body else {}

    def object_info(self) -> dict:
        return self.get("/object_info")

    def submit(self, prompt: dict, client_id: str = CLIENT) -> str:
        return self.post("/prompt", {"prompt": prompt, "client_id": client_id})["prompt_id"]

    def history(self, prompt_id: str) -> dict | None:
        return self.get(f"/history/{prompt_id}").get(prompt_id)

    def wait(self, prompt_id: str, seconds: float = 300) -> dict:
        """The finished prompt's history, whatever became of it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (found := self.history(prompt_id)) and found["status"].get("completed") is not None:
                return found
            if self._process.poll() is not None:
                raise HostError(f"ComfyUI died; its last lines:\n{self.log[-2000:]}")
            time.sleep(0.2)
        raise HostError(f"The prompt did not finish within {seconds:g} s; the last lines:\n{self.log[-2000:]}")

    def run(self, prompt: dict, seconds: float = 300) -> dict:
        """Outputs by node id of a prompt that must succeed."""
        done = self.wait(self.submit(prompt), seconds)
        if done["status"]["status_str"] != "success":
            raise HostError(f"The prompt failed: {error_of(done)}")
        return done["outputs"]

    def events(self, client_id: str = CLIENT) -> EventStream:
        """What the host tells ``client_id``; a context manager."""
        return EventStream(self.port, client_id)

    def interrupt(self) -> None:
        self.post("/interrupt", {})


def error_of(history: dict) -> str:
    """What the host says went wrong, or how the prompt was ended."""
    for kind, detail in reversed(history["status"]["messages"]):
        if kind == "execution_error":
            return f"{detail['node_type']}: {detail['exception_message'].strip()}"
        if kind == "execution_interrupted":
            return "interrupted"
    return history["status"]["status_str"]


def shipped(name: str, **changes: dict) -> dict:
    """The API prompt of a shipped workflow; ``changes`` maps a node's class to inputs that replace its own."""
    prompt = json.loads((PACK / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    for node in prompt.values():
        node["inputs"] |= changes.get(node["class_type"], {})
    return prompt


# What makes a shipped graph small enough for a processor: sizes, steps and exact numbers; the wiring stays.
SMALL = {"width": 128, "height": 96, "frames": 17}
QUICK = {
    "LTX2VideoDataset": {"width": 128, "height": 96, "frames": 17},
    "LTX2TrainSettings": {"steps": 6, "warmup": 2, "dtype": "float32", "checkpoint_every": 2, "validate_every": 3, "learning_rate": 1e-3},
    "LTX2TrainPreset": {"steps": 4, "checkpoint_every": 0, "validate_every": 0},
    "LTX2TrainingPreview": {**SMALL, "steps": 1, "every": 1_000_000},
    "LTX2SampleSettings": {**SMALL, "steps": 2},
    **{kind: {**SMALL, "steps": 2} for kind in ("LTX2SampleT2V", "LTX2SampleI2V", "LTX2SampleS2V")},
}
_TRAINING = {"LTX2LoadCheckpoint", "LTX2LoadTextEncoder", "LTX2VideoDataset", "LTX2CacheDataset", "LTX2LoRASettings", "LTX2TrainSettings", "LTX2TrainLoRA"}


def training(name: str, trained: dict | None = None, **settings: object) -> tuple[dict, str]:
    """The shipped training graph up to the LoRA, and the id of its last node.

    Args:
        trained: further inputs of Train LoRA.
        settings: inputs of Train Settings.
    """
    changes = {**QUICK, "LTX2TrainSettings": {**QUICK["LTX2TrainSettings"], **settings}, "LTX2TrainLoRA": {"name": name, **(trained or {})}}
    prompt = {key: node for key, node in shipped("first_lora", **changes).items() if node["class_type"] in _TRAINING}
    (last,) = [key for key, node in prompt.items() if node["class_type"] == "LTX2TrainLoRA"]
    del prompt[last]["inputs"]["previews"]
    return prompt, last


def with_preview(prompt: dict, last: str, every: int = 3) -> dict:
    """``prompt`` with a film at 0, ``every`` and the end, called fox."""
    (models,) = [k for k, n in prompt.items() if n["class_type"] == "LTX2LoadCheckpoint"]
    (encoder,) = [k for k, n in prompt.items() if n["class_type"] == "LTX2LoadTextEncoder"]
    inputs = {"positive": ["text", 0], "name": "fox", "every": every, "width": 96, "height": 64, "frames": 9, "steps": 2, "video_cfg": 1.0, "seed": 0}
    prompt["text"] = {"class_type": "LTX2EncodePrompt", "inputs": {"checkpoint": [models, 0], "text_encoder": [encoder, 0], "prompt": "A fox."}}
    prompt["films"] = {"class_type": "LTX2TrainingPreview", "inputs": inputs}
    prompt[last]["inputs"]["previews"] = ["films", 0]
    return prompt
