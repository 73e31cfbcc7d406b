"""The parser: failed logins of the log in SANDRUN_IN_LOG become rules for nft in SANDRUN_OUT_RULES.

Its regular expression has the mistake that such parsers had: what a user calls himself can look like an address.
"""

import collections
import os
import re

FAILED = re.compile(r"sshd\[\d+\]: Failed password for .*? from ([\d.]+) port")
MOST = 3

with open(int(os.environ["SANDRUN_IN_LOG"]), encoding="utf-8", errors="replace") as log:
    counted = collections.Counter(found[1] for line in log if (found := FAILED.search(line)))
with open(int(os.environ["SANDRUN_OUT_RULES"]), "w", encoding="ascii") as rules:
    for address, times in sorted(counted.items()):
        if times >= MOST:
            print(f"add element inet filter banned {{ {address} timeout 1h }}", file=rules)
