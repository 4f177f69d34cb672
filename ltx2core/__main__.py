import os
import sys

# Buckets of different sizes then take each other's memory: 104 instead of 126 GiB with two of them and all blocks kept. Read
# when torch is imported; a choice of the person's own stays.
if sys.platform == "linux" and not os.environ.keys() & {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}:
    os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"

from .cli import main  # noqa: E402

sys.exit(main())
