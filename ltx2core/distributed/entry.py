"""The script that torchrun runs, by its path: a Python that ships with a program often ignores the working folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ltx2core.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
