"""A graph as one node: the file from which the canvas offers it in its list of nodes (ComfyUI serves ``subgraphs/*.json``)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from .graph import Graph, Out, inner

# What the canvas calls the two edges of a subgraph.
_INPUTS, _OUTPUTS = -10, -20
_SPACE = 80


@dataclass
class Blueprint:
    """``graph`` is what lies inside; ``inputs`` and ``outputs`` are by name, in the order in which the node shows them.

    ``panels``: (node, widget) pairs of what the node shall show of those inside, besides its own inputs.
    """

    graph: Graph
    inputs: dict[str, Out] = field(default_factory=dict)
    outputs: dict[str, Out] = field(default_factory=dict)
    panels: tuple[tuple[int, str], ...] = ()

    def port(self, name: str) -> Out:
        """An input of the node, to be given as an input of nodes inside."""
        return self.inputs.setdefault(name, Out(_INPUTS, len(self.inputs)))

    def canvas(self, object_info: dict) -> dict:
        """The file: a graph of one node, whose type is the subgraph defined beside it."""
        shown, links = inner(self.graph, object_info)
        inside = self._inside(shown, links)
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"ltx2-studio/subgraphs/{self.graph.name}"))
        definition = {
            "id": identity, "version": 1, "revision": 0, "config": {}, "name": self.graph.name, "widgets": [], "groups": [], "extra": {}, **inside,
            "state": {"lastGroupId": 0, "lastNodeId": len(shown), "lastLinkId": len(inside["links"]), "lastRerouteId": 0},
        }  # fmt: skip
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, identity)), "revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [self._node(identity, shown, inside)],
            "links": [], "groups": [], "definitions": {"subgraphs": [definition]}, "config": {}, "extra": {}, "version": 0.4,
        }  # fmt: skip

    def _inside(self, shown: list[dict], links: list[list]) -> dict:
        given = [[len(links) + 1 + i, out.node, out.slot, _OUTPUTS, i, None] for i, out in enumerate(self.outputs.values())]
        rows = []
        for number, source, slot, target, at, _ in [*links, *given]:
            kind = shown[source - 1]["outputs"][slot]["type"] if source > 0 else shown[target - 1]["inputs"][at]["type"]
            rows.append({"id": number, "origin_id": source, "origin_slot": slot, "target_id": target, "target_slot": at, "type": kind})
            if target == _OUTPUTS:
                shown[source - 1]["outputs"][slot]["links"].append(number)
        right = max(box["pos"][0] + box["size"][0] for box in shown)
        return {
            "inputNode": {"id": _INPUTS, "bounding": [-120 - _SPACE, 0, 120, 20 + 20 * len(self.inputs)]},
            "outputNode": {"id": _OUTPUTS, "bounding": [right + _SPACE, 0, 120, 20 + 20 * len(self.outputs)]},
            "inputs": [self._edge(name, rows, "origin", _INPUTS, i) for i, name in enumerate(self.inputs)],
            "outputs": [self._edge(name, rows, "target", _OUTPUTS, i) for i, name in enumerate(self.outputs)], "nodes": shown, "links": rows,
        }  # fmt: skip

    def _edge(self, name: str, rows: list[dict], end: str, node: int, slot: int) -> dict:
        mine = [row for row in rows if (row[f"{end}_id"], row[f"{end}_slot"]) == (node, slot)]
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"ltx2-studio/subgraphs/{self.graph.name}/{node}/{name}"))
        return {"id": identity, "name": name, "type": mine[0]["type"], "linkIds": [row["id"] for row in mine]}

    def _node(self, kind: str, shown: list[dict], inside: dict) -> dict:
        rows = {row["id"]: row for row in inside["links"]}
        inputs, widgets, values = [], [], []
        for edge in inside["inputs"]:
            entry = {"name": edge["name"], "type": edge["type"], "link": None}
            target = rows[edge["linkIds"][0]]
            box = shown[target["target_id"] - 1]
            if "widget" in box["inputs"][target["target_slot"]]:
                entry["widget"] = {"name": edge["name"]}
                widgets.append(["-1", edge["name"]])
                values.append(box["widgets_values"][sum("widget" in i for i in box["inputs"][: target["target_slot"]])])
            inputs.append(entry)
        return {
            "id": 1, "type": kind, "pos": [0, 0], "size": [380, 340 + 34 * len(inputs)], "flags": {}, "order": 0, "mode": 0, "title": self.graph.name, "inputs": inputs,
            "outputs": [{"name": e["name"], "type": e["type"], "links": []} for e in inside["outputs"]],
            "properties": {"proxyWidgets": [*widgets, *([str(node), name] for node, name in self.panels)]}, "widgets_values": values,
        }  # fmt: skip
