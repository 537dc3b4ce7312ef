"""The web page of a cloud: its shifts, live, and metrics of them."""
