"""Has a mistake."""


def apply(text):
    """A mistake, not an attack."""
    return {}[text]
