"""`python -m hyperstyle`: the same as the console command `hyperstyle`."""

from __future__ import annotations

import sys

from hyperstyle.cli import main

if __name__ == "__main__":
    sys.exit(main())
