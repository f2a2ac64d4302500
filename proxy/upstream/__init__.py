"""Upstream registries: challenges, tokens, redirects, limits."""
