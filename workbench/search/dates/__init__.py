"""Two dates of one place: the ground of one seen in the other, and what differs beyond light and shift."""
