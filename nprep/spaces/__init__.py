"""What can be searched: the spaces, each in a folder of its own."""
