"""The command line of the client. Protocol, section 9."""
