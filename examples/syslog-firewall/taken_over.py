"""A parser that an exploit has taken over: it says what the attacker likes."""

import os

with open(int(os.environ["SANDRUN_OUT_RULES"]), "w", encoding="ascii") as rules:
    print("add element inet filter banned { 8.8.8.8 timeout 1h }; flush ruleset", file=rules)
