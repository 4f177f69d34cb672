"""A transformer block with its gradients written out: few large kernels, adapters inside the matrix products, two lanes."""
