"""How the documents become a site: `python -m docs.build`, or `make docs`."""
