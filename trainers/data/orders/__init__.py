"""Orders of sequences over epochs, one file each."""
