"""HTTP: an ASGI application under uvicorn, and what is needed to write one. It knows nothing of what it serves."""
