"""A good one."""


def apply(text):
    """In capitals."""
    return text.title()
