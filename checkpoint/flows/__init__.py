"""Flows: front-ends whose work is kept step by step and goes on where it stopped."""
