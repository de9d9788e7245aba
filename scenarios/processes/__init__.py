"""Processes that were started: followed, measured, ended."""
