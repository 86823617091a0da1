"""Descriptors as packed bits: models by name, fitted to an archive or its labels, saved, and compared bit by bit."""
