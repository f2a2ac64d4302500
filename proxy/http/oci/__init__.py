"""The OCI distribution API: pulling, tag lists, referrers and the catalog."""
