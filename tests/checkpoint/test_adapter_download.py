"""Files by name, with a small server in place of the hub: what is asked of it is what is judged."""

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file

from ltx2core.checkpoint.adapter import load_adapter
from ltx2core.errors import LTX2Error
from ltx2core.hub import find_file
from ltx2core.protocols import Interrupted
from ltx2core.standalone import StopFlag

REPO, FILE = "Lightricks/LTX-2-19b-IC-LoRA-Canny-Control", "ltx-2-19b-ic-lora-canny-control.safetensors"
NAME = f"{REPO}:{FILE}"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Serves one file as huggingface.co does: /{repo}/resolve/{revision}/{file}, with ETag, commit and ranges."""

    def log_message(self, *args):
        pass

    def _answer(self, body):
        server = self.server
        status = server.statuses.get(self.path.split("/resolve/")[0].strip("/"), 404)
        if status != 200 or not self.path.endswith(FILE):
            self.send_response(status if status != 200 else 404)
            self.send_header("X-Error-Code", {403: "GatedRepo", 200: "EntryNotFound", 404: "RepoNotFound"}.get(status, ""))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, start = server.content, 0
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").split("-")[0])
        if body:
            server.gets.append(start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if body:
            end = start + server.cuts.pop(0) if server.cuts else len(data)
            self.wfile.write(data[start:end])
            self.close_connection = True

    def do_HEAD(self):
        self._answer(False)

    def do_GET(self):
        self._answer(True)


@pytest.fixture
def content(tmp_path):
    """A LoRA of some MiB, so that it comes in several pieces."""
    module = "diffusion_model.transformer_blocks.0.attn1.to_q"
    path = tmp_path / "source.safetensors"
    save_file({f"{module}.lora_A.weight": torch.randn(128, 4096), f"{module}.lora_B.weight": torch.randn(4096, 128)}, path, metadata={"reference_downscale_factor": "2"})
    return path.read_bytes()


@pytest.fixture
def hub(content, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.content, server.gets, server.cuts, server.statuses = content, [], [], {REPO: 200}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Said:
    def __init__(self, stop=None, after=0):
        self.events, self.texts, self._stop, self._after = [], [], stop, after

    def progress(self, event):
        self.events.append(event)
        if self._stop is not None and event.done >= self._after:
            self._stop.stopped = True

    def message(self, text, level="info"):
        self.texts.append(text)


def test_downloads_with_progress_then_reads_the_cache(hub, tmp_path, content):
    said = Said()
    path = find_file(NAME, allow_download=True, reporter=said, endpoint=hub.url, cache_dir=tmp_path / "cache")
    assert path.read_bytes() == content and load_adapter(path).metadata["reference_downscale_factor"] == "2"
    assert FILE in said.texts[0] and "GiB" in said.texts[0]
    done = [e.done for e in said.events]
    assert done == sorted(done) and done[-1] == len(content) == said.events[-1].total and len(done) > 1 and said.events[0].stage == "download"
    gets = list(hub.gets)
    assert find_file(NAME, cache_dir=tmp_path / "cache") == path and hub.gets == gets


def test_a_stopped_download_goes_on_where_it_was(hub, tmp_path, content):
    stop = StopFlag()
    with pytest.raises(Interrupted, match="queue again to go on"):
        find_file(NAME, allow_download=True, reporter=Said(stop, after=2 * 2**20), stop=stop, endpoint=hub.url, cache_dir=tmp_path / "cache")
    there = sum(f.stat().st_size for f in (tmp_path / "cache").rglob("*.part"))
    assert 2 * 2**20 <= there < len(content)
    said = Said()
    path = find_file(NAME, allow_download=True, reporter=said, endpoint=hub.url, cache_dir=tmp_path / "cache")
    assert path.read_bytes() == content and hub.gets == [0, there] and said.events[0].done > there


def test_a_cut_line_is_taken_up_again(hub, tmp_path, content):
    """Twice in one run; then the server sends nothing more, and a later run goes on."""
    hub.cuts = [1_000_000, 500_000, 0, 0, 0, 0, 0]
    with pytest.raises(LTX2Error, match="sent no more than 1500000 of"):
        find_file(NAME, allow_download=True, endpoint=hub.url, cache_dir=tmp_path / "cache")
    assert hub.gets[:3] == [0, 1_000_000, 1_500_000]
    assert find_file(NAME, allow_download=True, endpoint=hub.url, cache_dir=tmp_path / "cache").read_bytes() == content
    assert hub.gets[-1] == 1_500_000 and not list((tmp_path / "cache").rglob("*.part"))


def test_wrong_bytes_are_thrown_away(hub, tmp_path, content):
    hub.cuts = [1_000_000, 0, 0, 0, 0, 0]
    with pytest.raises(LTX2Error):
        find_file(NAME, allow_download=True, endpoint=hub.url, cache_dir=tmp_path / "cache")
    part = next((tmp_path / "cache").rglob("*.part"))
    part.write_bytes(bytes(1_000_000))
    with pytest.raises(LTX2Error, match="not those of the file; they were thrown away"):
        find_file(NAME, allow_download=True, endpoint=hub.url, cache_dir=tmp_path / "cache")
    assert find_file(NAME, allow_download=True, endpoint=hub.url, cache_dir=tmp_path / "cache").read_bytes() == content


def test_nothing_is_downloaded_unasked(hub, tmp_path):
    with pytest.raises(LTX2Error, match="not in the Hugging Face cache.*allow_download"):
        find_file(NAME, endpoint=hub.url, cache_dir=tmp_path / "cache")
    assert not hub.gets


def test_a_local_file_comes_first(hub, tmp_path, monkeypatch):
    (tmp_path / "own.safetensors").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert find_file(str(tmp_path / "own.safetensors"), allow_download=True, endpoint=hub.url) == tmp_path / "own.safetensors"
    assert find_file("own.safetensors", allow_download=True, endpoint=hub.url).resolve() == tmp_path / "own.safetensors"
    if os.name != "nt":  # a name that is both: the local file wins
        local = tmp_path / "Lightricks" / (REPO.split("/")[1] + ":" + FILE)
        local.parent.mkdir()
        local.write_bytes(b"x")
        assert find_file(NAME, allow_download=True, endpoint=hub.url).read_bytes() == b"x"
    assert not hub.gets


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("nowhere.safetensors", "There is no file nowhere.safetensors"),
        (os.path.join(os.path.abspath(os.sep), "no", "file.safetensors"), "There is no file"),
        ("Lightricks/LTX-2:weights.ckpt", "not a .safetensors file"),
        ("nothing:file.safetensors", "no hub name"),
    ],
)
def test_bad_names_say_what_to_write(name, match):
    with pytest.raises(LTX2Error, match=match):
        find_file(name, allow_download=True)


def test_local_files_of_other_formats_are_refused(tmp_path):
    (tmp_path / "own.pt").write_bytes(b"x")
    with pytest.raises(LTX2Error, match="not a .safetensors file"):
        find_file(str(tmp_path / "own.pt"))


def test_unreachable_hub_says_so(hub, tmp_path):
    url = hub.url.rsplit(":", 1)[0] + ":9"  # the discard port: nobody listens
    with pytest.raises(LTX2Error, match="could not be reached.*check the network"):
        find_file(NAME, allow_download=True, endpoint=url, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("repo", "file", "status", "match"),
    [
        (REPO, "other.safetensors", 200, "has no file other.safetensors"),
        ("Nobody/nothing", FILE, 404, "no repository Nobody/nothing"),
        ("Some/gated", FILE, 403, "terms are accepted.*https://huggingface.co/Some/gated"),
    ],
)
def test_what_the_hub_refuses_is_said(hub, tmp_path, repo, file, status, match):
    hub.statuses[repo] = status
    with pytest.raises(LTX2Error, match=match):
        find_file(f"{repo}:{file}", allow_download=True, endpoint=hub.url, cache_dir=tmp_path / "cache")
