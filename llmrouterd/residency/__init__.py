"""What is in memory, what has to give way, and who waits."""
