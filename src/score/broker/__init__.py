"""The service without HTTP: uploads, downloads, listing, and who may do what. State lies in the store, section 4."""
