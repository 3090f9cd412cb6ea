"""A run over pictures: looked at and judged, uploaded, queued."""
