"""Closed forms and a simulated head."""
