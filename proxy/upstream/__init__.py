"""Upstream registries over HTTP: challenges, tokens, redirects, limits; never content kept."""
