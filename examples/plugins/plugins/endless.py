"""Never ends."""


def apply(text):
    """Nothing, for ever."""
    while True:
        pass
