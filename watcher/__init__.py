"""Watches Monite OCR tasks and tells the rest of a product when one was recognised or failed."""

__version__ = "0.1.0"
