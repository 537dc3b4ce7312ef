"""The repository server: ChartMuseum's HTTP API, an OCI registry's front, and a page to look at, as one ASGI application."""
