"""A path from a graph never leads out of the folders that it may write to."""

import os
from pathlib import Path

import pytest

from ltx2core.errors import LTX2Error
from ltx2core.safe_paths import inside


@pytest.fixture
def roots(tmp_path):
    for name in ("output", "models", "private"):
        (tmp_path / name).mkdir()
    return tmp_path / "output", tmp_path / "models"


@pytest.mark.parametrize("name", ["cache", "a/b/c", "./x", "a/../b", " spaced ", "{output}/x", "{models}/ltx2"])
def test_inside(name, roots):
    given = name.format(output=roots[0], models=roots[1])
    found = inside(given, roots[0], roots)
    assert found.is_absolute() and any(found.is_relative_to(r.resolve()) for r in roots)


@pytest.mark.parametrize("name", ["..", "../private", "a/../../private", "{private}", "{output}/../private", "/etc", "~/x", "{output}2", "x\0y"])
def test_outside(name, roots):
    given = name.format(output=roots[0], private=roots[0].parent / "private")
    with pytest.raises(LTX2Error, match="outside|cannot be used"):
        inside(given, roots[0], roots)


@pytest.mark.skipif(os.name != "posix", reason="links for everyone: POSIX")
def test_links_are_followed(roots):
    (roots[0] / "link").symlink_to(roots[0].parent / "private", target_is_directory=True)
    (roots[0] / "loop").symlink_to(roots[0] / "loop")
    (roots[0] / "good").symlink_to(roots[1], target_is_directory=True)
    for name in ("link", "link/deep", "loop/x"):
        with pytest.raises(LTX2Error):
            inside(name, roots[0], roots)
    assert inside("good/cache", roots[0], roots) == (roots[1] / "cache").resolve()
    # An output folder that is itself a link, as on many servers.
    (roots[0].parent / "far").symlink_to(roots[0], target_is_directory=True)
    assert inside("cache", roots[0].parent / "far", (roots[0].parent / "far",)) == roots[0] / "cache"


def test_every_folder_that_a_node_writes_to_is_checked():
    """No node makes a path to write to from a widget without asking; names of widgets that are such paths."""
    nodes = Path(__file__).resolve().parents[1] / "nodes"
    for file in nodes.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        for widget in ("cache_folder", "output_folder", "captions_folder", "target_folder"):
            if f"Path({widget}" in text:
                pytest.fail(f"{file.name} makes a path of {widget} itself; use host.paths.writable")
