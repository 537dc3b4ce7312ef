"""Planeshift: one file declares an OpenStack control plane; this package plans it, runs it and moves it."""

__version__ = "0.1.0"
