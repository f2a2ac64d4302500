"""The OCI distribution API: pulling, pushing, deleting, tag lists, referrers and the catalog."""
