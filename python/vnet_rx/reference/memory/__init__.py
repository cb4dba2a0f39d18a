"""Device-visible memory, its pages, and who owns them (RECEIVE.md, section 2)."""
