"""Training a LoRA from cached latents and text features."""
