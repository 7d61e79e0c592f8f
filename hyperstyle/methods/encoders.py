"""Starts: encoders that map a crop to codes at once."""

from __future__ import annotations

from hyperstyle.methods.base import Method, Remedy, StartingPoint, encoder_start

# W: one code for all rows; the start that HyperStyle was trained with.
W_ENCODER = Method(
    "w-encoder", needs={"encoder": "W encoder"}, start=StartingPoint("w-encoder", encoder_start("encoder"))
)
# W+, close to W: an offset from the first row for each further one (Tov et al., 2021).
E4E = Method(
    "e4e",
    needs={"e4e": "e4e encoder"},
    start=StartingPoint("e4e", encoder_start("e4e")),
    remedy=Remedy("an e4e encoder", "hyperstyle convert FILE --encoder E4E.pt --out FOLDER", train="encoder"),
)
# W+: another code for each row (Richardson et al., 2021).
PSP = Method(
    "psp",
    needs={"psp": "pSp encoder"},
    start=StartingPoint("psp", encoder_start("psp")),
    remedy=Remedy("a pSp encoder", "hyperstyle convert FILE --encoder PSP.pt --out FOLDER", train="encoder"),
)
