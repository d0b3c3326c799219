"""Networks and their blocks; nothing here knows what a family is."""
