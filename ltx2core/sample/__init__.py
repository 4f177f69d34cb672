"""From prompts, pictures and sound to latents, and from latents to a clip."""
