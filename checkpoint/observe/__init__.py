"""Observers: consumers of a run's events."""
