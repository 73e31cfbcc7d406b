"""The tests of sandrun; `support` is what they share."""
