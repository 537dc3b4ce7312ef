"""Helm charts: their names, archives and provenance, a repository that serves them, and the tools of their life.

Usable by itself. `names`, `versions`, `metadata`, `emit`, `segments`, `index` are pure; `archive` and `provenance` read
bytes; `store` keeps files; `repository` puts these together; `server` speaks ChartMuseum's, OCI's and a browser's
language in front of it; `remote` speaks them to somebody else's.
"""
