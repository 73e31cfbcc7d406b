"""The validator: rules that shut nobody out who is needed. The profile has seen to their form; this is about their sense."""

import ipaddress
import sys

for line in sys.stdin:
    try:
        address = ipaddress.IPv4Address(line.split()[6])
    except ValueError:
        sys.exit(f"no address: {line.split()[6]}")
    if not address.is_global:
        sys.exit(f"an address of our own: {address}")
