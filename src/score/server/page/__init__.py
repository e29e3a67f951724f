"""The page for people at ``/``: what runs, how it is, and files to browse, fetch and send from a browser."""
