"""Lifecycle policies: read, judged, previewed and carried out."""
