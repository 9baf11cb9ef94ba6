"""Published benchmark figures: read from files, kept in the store, handed to the evidence."""
