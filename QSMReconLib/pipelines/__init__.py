"""Named pipelines, as JSON."""
