"""What the commands do, without any terminal: the one place where drivers are built and given to the engine."""
