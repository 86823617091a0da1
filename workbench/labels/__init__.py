"""What the analyst said: the label log, imports and exports, spatial splits, training chips and masks."""
