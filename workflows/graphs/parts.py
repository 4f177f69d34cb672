"""What several of the shipped graphs have in common."""

from __future__ import annotations

from ..graph import Graph, Node, Out

CHECKPOINT, TEXT_ENCODER, CLIPS = "ltx-2-19b-dev.safetensors", "gemma_3_12B_it.safetensors", "ltx2_clips"
LORA = "my_first_lora"
PROMPT = "A red circle moves right over a dark background, with a low tone."
_HUB = "https://huggingface.co"
CHECKPOINT_MODEL = {"name": CHECKPOINT, "url": f"{_HUB}/Lightricks/LTX-2/resolve/main/{CHECKPOINT}", "directory": "checkpoints"}
_GEMMA_MODEL = {
    "name": TEXT_ENCODER, "url": f"{_HUB}/Comfy-Org/ltx-2/resolve/main/split_files/text_encoders/{TEXT_ENCODER}", "directory": "text_encoders",
}  # fmt: skip

UPSCALER = "ltx-2-spatial-upscaler-x2-1.0.safetensors"
UPSCALER_MODEL = {"name": UPSCALER, "url": f"{_HUB}/Lightricks/LTX-2/resolve/main/{UPSCALER}", "directory": "latent_upscale_models"}


def published(name: str) -> dict[str, str]:
    """The model entry of an adapter that Lightricks published."""
    file = f"{name.lower()}.safetensors"
    return {"name": file, "url": f"{_HUB}/Lightricks/{name}/resolve/main/{file}", "directory": "loras"}


def loaders(graph: Graph) -> tuple[Out, Out]:
    """The checkpoint and the text encoder."""
    return (
        graph.add("LTX2LoadCheckpoint", checkpoint=CHECKPOINT, models=(CHECKPOINT_MODEL,)).out(),
        graph.add("LTX2LoadTextEncoder", text_encoder=TEXT_ENCODER, models=(_GEMMA_MODEL,)).out(),
    )


def adapter(graph: Graph, name: str, title: str | None = None) -> Out:
    return graph.add("LTX2LoadAdapter", adapter=f"{name}.safetensors", title=title).out()


def prompts(graph: Graph, checkpoint: Out, text_encoder: Out, prompt: str | Out = PROMPT) -> dict[str, Out]:
    """``positive`` and ``negative``, as the nodes that sample call them."""
    encode = {"checkpoint": checkpoint, "text_encoder": text_encoder}
    positive = graph.add("LTX2EncodePrompt", prompt=prompt, title="Prompt", **encode)
    negative = graph.add("LTX2EncodePrompt", prompt="", title="Negative prompt", **encode)
    return {"positive": positive.out(), "negative": negative.out()}


def show(graph: Graph, checkpoint: Out, latents: Out, name: str) -> Node:
    """Decodes, and saves the video with its sound."""
    decoded = graph.add("LTX2Decode", checkpoint=checkpoint, latents=latents)
    return graph.add("SaveVideo", video=decoded.out(2), filename_prefix=f"ltx2/{name}", format="auto", codec="auto")
