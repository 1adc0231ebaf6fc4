"""`python -m ppd_lightning` is `ppd`."""

from __future__ import annotations

import sys

from ppd_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
