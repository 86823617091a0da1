"""What `search.refine` is made of: what is known without labels, and how a few marks become a scorer."""
