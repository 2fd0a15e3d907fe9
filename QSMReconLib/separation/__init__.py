"""Paramagnetic and diamagnetic susceptibility apart."""
