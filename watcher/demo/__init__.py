"""The whole system on one machine, with a count of truth against what arrived."""
