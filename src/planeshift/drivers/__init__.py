"""The world behind the ports: this machine, HAProxy, Keystone, databases, files; and `memory`, all of it without any."""
