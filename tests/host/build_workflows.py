"""Writes the files of ``workflows/`` and ``subgraphs/`` from ``workflows/graphs/``: python tests/host/build_workflows.py

The order of widgets comes from a running host, so that what the canvas reads is what the nodes declare.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from comfy_host import PACK, ComfyHost  # noqa: E402

from workflows.graphs import BLUEPRINTS, GRAPHS  # noqa: E402


def files(object_info: dict) -> dict[Path, dict]:
    """Path -> content of every shipped workflow, canvas and API, and of every blueprint."""
    result = {}
    for make in GRAPHS:
        graph = make()
        result[PACK / "workflows" / f"{graph.name}.json"] = graph.canvas(object_info)
        result[PACK / "workflows" / "api" / f"{graph.name}.json"] = graph.api(object_info)
    for make in BLUEPRINTS:
        blueprint = make()
        result[PACK / "subgraphs" / f"{blueprint.graph.name}.json"] = blueprint.canvas(object_info)
    return result


def text(content: dict) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as base, ComfyHost(Path(base)) as host:
        info = host.object_info()
    for path, content in files(info).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(content), encoding="utf-8")
        print(path.relative_to(PACK))


if __name__ == "__main__":
    main()
