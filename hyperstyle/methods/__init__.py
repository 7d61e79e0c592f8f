"""Ways to invert, one file each; `hyperstyle.py` holds `refine`, the loop of the paper."""
