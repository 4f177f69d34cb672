"""The model's parts as diffusers modules, and the one forward pass that training and sampling share."""
