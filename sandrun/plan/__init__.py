"""From a Profile to a Plan: `resolve.resolve` and its parts, and the Plan's own format.

This file stays empty: `plan.format` is imported on the light path.
"""
