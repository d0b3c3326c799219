"""The three families of models behind one protocol."""
