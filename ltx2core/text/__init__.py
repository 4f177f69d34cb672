"""Gemma3 as LTX-2 uses it: the hidden states of every layer, then the checkpoint's connectors."""
