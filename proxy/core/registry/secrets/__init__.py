"""Secrets: how they are named and kept, their versions, and the accounts in them."""
