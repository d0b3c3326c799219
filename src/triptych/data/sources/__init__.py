"""Where images come from: one file per kind of source, and `find`, which picks among them."""
