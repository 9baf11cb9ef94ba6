"""What the evidence is built from."""
