"""Engines: each finds the best k of many tiles in one way, over plain arrays, without knowing of archives."""
