"""LTX-2 Studio: train LTX-2 LoRAs and sample with them inside ComfyUI. The host imports this file and nothing else."""

WEB_DIRECTORY = "./js"


async def comfy_entrypoint():
    """Called by ComfyUI once; the nodes are imported here, so that importing the pack alone costs nothing."""
    from .nodes.registry import Extension

    return Extension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
