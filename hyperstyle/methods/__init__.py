"""Ways to invert, related ones in one file; `registry.py` lists them, `hyperstyle.py` holds `refine`."""
