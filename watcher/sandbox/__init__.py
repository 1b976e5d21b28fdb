"""A simulated OCR API with the documented API's manners and faults."""
