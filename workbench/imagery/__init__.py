"""Pixels, and where they are on earth: rasters, the data catalog, the tile grid, rendering and the synthetic scene."""
