"""The pages: made from records and pictures alone, in any language that has a locale."""
