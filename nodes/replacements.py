"""Nodes that were renamed, for graphs saved before: told to hosts that can replace nodes when they open a graph.

``replacements.json`` holds one object a renamed node: ``old_node_id``, ``new_node_id``, ``old_widget_ids`` in the old order
of its widgets, ``input_mapping`` and ``output_mapping`` as the host's NodeReplace takes them. A test holds them to the frozen
schemas: a node may only go when it is named there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TABLE = Path(__file__).resolve().parent / "replacements.json"


async def register(api: Any, make: Callable[..., Any], table: Path = TABLE) -> int:
    """Tell ``api.node_replacement`` of every entry, each made by ``make`` (the host's NodeReplace); how many they are."""
    entries = json.loads(table.read_text(encoding="utf-8"))
    for entry in entries:
        await api.node_replacement.register(make(**entry))
    return len(entries)


async def register_with_host() -> None:
    """Nothing on hosts that cannot replace nodes; they show a renamed node as missing."""
    from comfy_api import latest

    if hasattr(latest.io, "NodeReplace"):
        await register(latest.ComfyAPI(), latest.io.NodeReplace)
