"""Decay rates from echo trains."""
