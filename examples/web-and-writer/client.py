"""Leaves a note, and tries to leave one elsewhere."""

import http.client
import sys

for name in ("hello", "../planted"):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
    connection.request("POST", f"/{name}", body="a note")
    answer = connection.getresponse()
    print(name, answer.status, answer.read().decode().strip(), flush=True)
    connection.close()
