"""Is it good? Clips of several adapters side by side."""

from __future__ import annotations

from ..graph import Graph
from .parts import LORA, adapter, loaders
from .training import STYLE


def validation() -> Graph:
    graph = Graph(
        "validation",
        "## Which LoRA is better?\nEvery prompt without a LoRA and with each of them, side by side in one labelled video, which plays in the node, and as single\n"
        "files in `output/ltx2_validation`. Choose your LoRAs at *Load LTX-2 Adapter*; two more can be wired. Drop one of the files on the\n"
        "canvas to get this graph back. Cancel at any time: Run goes on at the first clip that is missing.",
    )
    checkpoint, gemma = loaders(graph)
    settings = graph.add("LTX2SampleSettings", width=768, height=512, frames=97)
    library = graph.add("LTX2PromptLibrary", checkpoint=checkpoint, text_encoder=gemma, source="built-in", only="motion, face, speech, music")
    first, second = adapter(graph, LORA, "First LoRA"), adapter(graph, STYLE, "Second LoRA")
    graph.add(
        "LTX2Validate", checkpoint=checkpoint, settings=settings.out(), prompts=library.out(), adapter_1=first, adapter_2=second, name="side_by_side", seeds="1, 2",
        strengths="1", scores=True,
    )  # fmt: skip
    return graph


GRAPHS = (validation,)
