"""The page of `hyperstyle app` as a Hugging Face Space, or in a container."""

from __future__ import annotations

import os
import sys

from hyperstyle.cli import main

if __name__ == "__main__":
    model, port = os.environ.get("MODEL", "avatars"), os.environ.get("PORT", "7860")
    flags = f"--no-browser --host 0.0.0.0 --port {port} --max-upload 16 --max-megapixels 16"
    sys.exit(main(["app", "--model", model, *flags.split()]))
