"""One file per recipe; the registry finds it by its name."""
