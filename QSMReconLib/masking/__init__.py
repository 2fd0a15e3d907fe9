"""From a scan to the brain's mask."""
