"""Video files through PyAV, an optional package: read as upright sRGB images, written as MP4.

The public functions are in `hyperstyle.frames`.
"""
