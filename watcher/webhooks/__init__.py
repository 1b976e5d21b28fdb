"""Events on their way to endpoints: lanes, signatures, attempts, dead letters."""
