"""The broker: what a command reads and leaves goes through descriptors, and is written only once it has been checked.

`session` opens what `[[broker.input]]` and `[[broker.output]]` name and, after the command, takes one bounded copy of
each output. `checks` judges the copies, `commit` puts them in place, all or none.
"""
