"""`python -m portrait_tool FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hyperstyle
from portrait_tool.older import report

print(json.dumps({"installed": hyperstyle.__file__, "results": report(Path(sys.argv[1]))}))
