"""One running ComfyUI a session, with tiny models and a folder of drawn clips in its places."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from comfy_host import ENABLE, ComfyHost, HostError, find_comfyui, host_environment, host_python  # noqa: E402
from given_base import CHECKPOINT, TEXT_ENCODER, fill_base  # noqa: E402


@pytest.fixture(scope="session")
def comfy_root():
    try:
        if root := find_comfyui():
            host_python(root)
            return root
    except HostError as error:
        pytest.skip(str(error))
    pytest.skip(f"no ComfyUI found: {ENABLE}")


@pytest.fixture(scope="session")
def tiny_names():
    """File names of the tiny checkpoint and the tiny text encoder."""
    return CHECKPOINT, TEXT_ENCODER


@pytest.fixture(scope="session")
def comfy(comfy_root, tmp_path_factory):
    base = tmp_path_factory.mktemp("comfy")
    fill_base(base)
    shutil.copytree(HERE / "probe", base / "custom_nodes" / "ltx2_test_probe", ignore=shutil.ignore_patterns("__pycache__"))
    with ComfyHost(base, comfy_root) as host:
        yield host


@pytest.fixture(scope="session")
def native_job(comfy_root):
    """native_job(script, job) -> what the host warned of while its own code carried ``job`` out, in a process without the pack."""
    command = [host_python(comfy_root), str(HERE / "native_worker.py"), str(comfy_root)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=host_environment())

    def carry_out(script, job):
        guard = threading.Timer(300, process.kill)
        guard.start()
        try:
            process.stdin.write(json.dumps({"script": script, "job": job}) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline() or '{"error": "the host\'s process ended"}')
        finally:
            guard.cancel()
        assert answer["error"] is None, answer["error"]
        return answer["log"]

    yield carry_out
    process.stdin.close()
    process.wait(60)
    process.stdout.close()
