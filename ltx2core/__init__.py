"""LTX-2 training and sampling without ComfyUI. Nothing here imports the host."""
