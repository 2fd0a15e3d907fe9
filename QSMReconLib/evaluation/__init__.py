"""How close a map is to the truth."""
