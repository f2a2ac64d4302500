"""The surfaces: they translate between HTTP and core, and decide nothing."""
