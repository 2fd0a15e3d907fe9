"""From the total to the local field."""
