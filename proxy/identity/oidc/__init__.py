"""Tokens of identity providers: read, verified with keys that the provider publishes, and made principals."""
