"""Trained networks: architectures, cards, weights, and the one runner."""
