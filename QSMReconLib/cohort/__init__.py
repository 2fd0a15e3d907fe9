"""Many scans through the same pipeline."""
