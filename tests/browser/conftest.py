"""The host of tests/host, and a browser in front of it; skipped with a plain line where one is missing."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
HOST = HERE.parent / "host"
for folder in (HERE, HOST):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from browser_tools import NoBrowser, run_script, script_environment  # noqa: E402
from given_files import write_given  # noqa: E402

from ltx2core.tiny_upscaler import write_tiny_upscaler  # noqa: E402

_spec = importlib.util.spec_from_file_location("ltx2_host_conftest", HOST / "conftest.py")
_host = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_host)
comfy_root, fill_base = _host.comfy_root, _host.fill_base


def pytest_generate_tests(metafunc):
    """``each_renderer``: once in each of the host's two renderers. ``renderer``: in the older one, with --full in both."""
    both = ["canvas", "html"]
    if "each_renderer" in metafunc.fixturenames:
        metafunc.parametrize("each_renderer", both, scope="module")
    if "renderer" in metafunc.fixturenames:
        metafunc.parametrize("renderer", both if metafunc.config.getoption("--full") else both[:1], scope="module")


@pytest.fixture(scope="session")
def visit():
    """``visit(script, **arguments)``: what a browser script reports."""
    try:
        script_environment()
    except NoBrowser as error:
        pytest.skip(str(error))
    return run_script


@pytest.fixture(scope="session")
def comfy(visit, comfy_root, tmp_path_factory):
    """A ComfyUI of these tests' own, since a browser leaves settings behind; asked for a browser first, which is quicker."""
    base = tmp_path_factory.mktemp("browsed")
    fill_base(base)
    # Newer front-ends mark nodes whose picture, film, sound or model is not there; names are enough for that.
    write_given(base / "input")
    (base / "models" / "loras").mkdir(parents=True, exist_ok=True)
    for name in ("my_first_lora", "my_style"):
        (base / "models" / "loras" / f"{name}.safetensors").touch()
    # A graph whose chosen upscaler is missing opens with a dialog.
    (base / "models" / "latent_upscale_models").mkdir(parents=True)
    write_tiny_upscaler(base / "models" / "latent_upscale_models" / "ltx-2-spatial-upscaler-x2-1.0.safetensors")
    (base / "input" / "ltx2_clips" / "unreadable.mp4").write_bytes(b"no film")
    (base / "input" / "ltx2_clips" / "unreadable.txt").write_text("a caption", encoding="utf-8")
    named = os.environ.get("COMFYUI_FRONTEND")
    with _host.ComfyHost(base, comfy_root, ("--front-end-root", named) if named else ()) as host:
        yield host
