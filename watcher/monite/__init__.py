"""The OCR API as a client sees it: requests, authentication, budget, decoding."""
