"""Moving bytes between files and pre-signed URLs: in parallel, verified, resumable, with bounded memory."""
