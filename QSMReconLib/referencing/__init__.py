"""Giving χ its zero."""
