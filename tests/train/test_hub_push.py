"""Pushing an adapter: huggingface_hub's own client against a small server that speaks the hub's protocol."""

import base64
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import yaml

from ltx2core.checkpoint.adapter import Adapter, save_adapter
from ltx2core.errors import LTX2Error
from ltx2core.standalone import ConsoleReporter
from ltx2core.train.history import History
from ltx2core.train.hub_push import push_adapter
from ltx2core.train.loop import TrainResult
from ltx2core.train.settings import LoRASettings, RunConfig, TrainSettings
from ltx2core.train.tracking_settings import TrackingSettings
from ltx2core.train.validate import ValidationLoss

RUN = RunConfig(LoRASettings(rank=2), TrainSettings(steps=9, tracking=TrackingSettings(hub_model_id="somebody/fox")))


class Hub(BaseHTTPRequestHandler):
    """Creates repositories and takes commits whose files travel inside them; everything is written down in ``seen``."""

    def do_POST(self):
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else self._chunks()
        self.server.seen.append((self.path, self.headers.get("Authorization"), body))
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        if self.server.refuse:
            return self._answer(403, {"error": "no right to write here"})
        if self.path == "/api/repos/create":
            return self._answer(200, {"url": f"{here}/somebody/fox", "id": "somebody/fox"})
        if "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
            return self._answer(200, {"files": files})
        if "/commit/" in self.path:
            return self._answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": f"{here}/somebody/fox/commit/{'0' * 40}", "hookOutput": ""})
        return self._answer(200, {"errors": [], "warnings": []})

    def _chunks(self):
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(parts)

    def _answer(self, code, value):
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        return


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen, server.refuse = [], False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def trained(tmp_path):
    adapter = Adapter("fox", {"transformer_blocks.0.attn1.to_q": (torch.ones(2, 4), torch.ones(4, 2))}, "2.0")
    losses = (ValidationLoss(0, 1.25, None, 2.0, None), ValidationLoss(9, 0.5, None, 2.0, None))
    result = TrainResult(adapter, tmp_path / "state", 9, History(tmp_path / "m"), 1.0, 0, losses)
    return result, save_adapter(tmp_path / "fox.safetensors", adapter)


def push(run, trained, hub):
    return push_adapter(run, *trained, ConsoleReporter(quiet=True), endpoint=f"http://127.0.0.1:{hub.server_address[1]}", token="hf_made_up")


def test_file_and_card_are_one_commit(trained, hub):
    assert push(RUN, trained, hub).endswith("/somebody/fox")
    [made] = [json.loads(body) for path, _, body in hub.seen if path == "/api/repos/create"]
    assert (made["organization"], made["name"]) == ("somebody", "fox") and (made.get("private") is True or made.get("visibility") == "private")
    assert {who for _, who, _ in hub.seen} == {"Bearer hf_made_up"}
    [commit] = [body for path, _, body in hub.seen if "/commit/" in path]
    files = {r["value"]["path"]: base64.b64decode(r["value"]["content"]) for r in map(json.loads, commit.splitlines()) if r["key"] == "file"}
    assert files.keys() == {"fox.safetensors", "README.md"} and files["fox.safetensors"] == trained[1].read_bytes()
    _, head, text = files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(head) == {"tags": ["lora", "ltx-2", "ltx-video", "comfyui"], "base_model": "Lightricks/LTX-2"}
    assert "| 0 | 1.2500 |  |" in text and "| 9 | 0.5000 |  |" in text and "9 steps" in text and "`fox.safetensors`" in text


def test_a_public_repository_only_when_asked(trained, hub):
    push(replace(RUN, train=replace(RUN.train, tracking=replace(RUN.train.tracking, hub_private=False))), trained, hub)
    made = json.loads(hub.seen[0][2])
    assert made.get("private") is not True and made.get("visibility", "public") == "public"


def test_nothing_is_sent_unasked(trained, hub):
    assert push(replace(RUN, train=TrainSettings(steps=9)), trained, hub) is None
    assert hub.seen == []


def test_a_refusal_is_said_and_the_file_stays(trained, hub):
    hub.refuse = True
    with pytest.raises(LTX2Error, match="could not be pushed to somebody/fox .*hf auth login"):
        push(RUN, trained, hub)
    assert trained[1].exists()


def test_a_hub_that_is_not_there_is_said(trained, hub):
    port = hub.server_address[1]
    hub.shutdown()
    hub.server_close()
    with pytest.raises(LTX2Error, match="could not be pushed"):
        push_adapter(RUN, *trained, ConsoleReporter(quiet=True), endpoint=f"http://127.0.0.1:{port}", token="hf_made_up")


def test_the_repository_s_name_is_checked():
    with pytest.raises(LTX2Error, match="owner/name"):
        TrackingSettings(hub_model_id="fox")
    with pytest.raises(LTX2Error, match="tensorbord"):
        TrackingSettings(trackers=("tensorbord",))
