"""Telling people about OCR errors."""
