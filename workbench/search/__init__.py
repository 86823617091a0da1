"""Which tiles look alike: queries, the index and refinement from labels."""
