"""Media files, through PyAV: what is in them, pictures and sound at a wanted rate, and writing."""
