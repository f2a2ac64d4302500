"""The registry's HTTP surfaces. This layer translates between HTTP and core; it decides nothing."""
