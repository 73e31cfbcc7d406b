"""An output as a profile declares it, for tests of what is made of one."""

from __future__ import annotations

from sandrun.brokered.declared import Output
from sandrun.profile.model import Origin

OUTPUT = Output(
    name="x",
    path="/x",
    origin=Origin("p", "broker.output[0]"),
    max_size=1 << 20,
    utf8=False,
    line="",
    schema=None,
    validator=(),
    validator_read=(),
    validator_timeout=1,
    mode=None,
    owner="",
    mkdir=False,
)
"""Nothing is asked of it but its size."""
