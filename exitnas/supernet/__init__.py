"""The DARTS supernet: every candidate exit at once, and the discretizer that chooses."""
