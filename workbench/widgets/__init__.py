"""The screen: views of a session in a notebook. They show its state and pass on what the user does; no logic."""
