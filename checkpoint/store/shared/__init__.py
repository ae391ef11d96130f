"""Shared stores: one store for many hosts, in a bucket, a shared folder or memory.

Next: store/shared/objects.py
"""
