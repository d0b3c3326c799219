"""Sources -> decoding -> store -> parts -> batches."""
