import os
import sys

from .card_memory import ask_for_segments

ask_for_segments(os.environ)

from .cli import main  # noqa: E402

sys.exit(main())
