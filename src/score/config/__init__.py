"""Settings: where values come from (``sources``) and their relaxed names. Protocol, section 8."""
