"""The whole loop played headless by an analyst who knows the truth, with a report a stranger understands."""
