"""Fills: one detached download per blob, any number of readers that tail it, several processes over one store."""

from proxy.core.fills.fills import Fills

__all__ = ["Fills"]
