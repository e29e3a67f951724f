"""Object stores: what the broker needs of one (``base``), and the stores themselves."""
