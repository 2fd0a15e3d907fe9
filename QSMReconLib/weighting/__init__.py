"""Weighted images, for looking at rather than measuring."""
