"""Other people's embeddings in and out: GeoParquet read into an archive like any other, and archives written as it."""
