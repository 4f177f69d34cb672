"""Combined LTX-2 `.safetensors` files: header, family, key names, lazy reading, adapters."""
