"""Transitions as CloudEvents, and the stream that carries them."""
