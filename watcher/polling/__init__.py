"""What to ask the API and when, and what its answers mean."""
