"""Jobs by the line: manifests and long bodies, checked on disk before the first one is queued."""
