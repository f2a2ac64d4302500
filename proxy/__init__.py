"""Pullthrough: a pull-through OCI registry that speaks Amazon ECR's API."""

from importlib.metadata import version

__version__ = version("pullthrough")
