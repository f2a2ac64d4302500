"""Blobs as files, metadata in SQL."""
