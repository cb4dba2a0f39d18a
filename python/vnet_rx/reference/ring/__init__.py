"""The driver half of a split ring (RECEIVE.md, section 6)."""
