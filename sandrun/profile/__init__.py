"""The profile language: TOML files and flags in, one frozen `Profile` out.

`load.load` is the way in; `model` has the nouns and `keys` the declaration of every key. Nothing is imported here, so
that the command line can read `keys` without the price of the rest.
"""
