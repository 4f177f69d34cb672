"""Latents and text features on disk, content-addressed: what was encoded once is never encoded again."""
