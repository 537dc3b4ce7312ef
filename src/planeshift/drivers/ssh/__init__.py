"""Hosts that are reached by OpenSSH's own client: how, what is carried there, and the host itself."""
