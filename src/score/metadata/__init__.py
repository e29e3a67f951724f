"""The metadata service: Song over HTTP, or the embedded registry."""
