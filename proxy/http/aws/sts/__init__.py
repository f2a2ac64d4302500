"""The part of AWS STS that tells a caller who it is."""
