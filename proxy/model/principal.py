"""Who makes a request."""

from typing import NewType

Principal = NewType("Principal", str)

ANONYMOUS = Principal("")
"""Whoever gave no name: everyone, while the registry asks for none."""
