"""Video files through PyAV, an optional package: read as upright sRGB images, written as MP4.

`hyperstyle.frames` is the door to it.
"""
