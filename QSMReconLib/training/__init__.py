"""Simulated heads and the training loop."""
