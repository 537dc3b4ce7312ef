"""Hosts that are this machine."""
