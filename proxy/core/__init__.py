"""The product: mapping, freshness, manifests, blobs and fills. It owns the ports and knows no framework."""
