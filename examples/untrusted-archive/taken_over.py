"""A decoder that an exploit has taken over: it writes what the attacker likes, here the archive as it came."""

import os

with (
    open(int(os.environ["SANDRUN_IN_ARCHIVE"]), "rb") as stream,
    open(int(os.environ["SANDRUN_OUT_PLAIN"]), "wb") as out,
):
    out.write(stream.read())
