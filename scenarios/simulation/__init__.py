"""Simulated hospitals on disk."""
