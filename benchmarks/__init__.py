"""Throughput beside other programs, measured in one run on one machine."""
