"""Containers of Azure Blob Storage: the wire client, signatures, and the store made of them."""
