"""The private parts of the synthetic scene: canvas and light, ground, things, and the plan of where they stand."""
