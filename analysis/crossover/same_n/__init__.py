"""Same-N crossovers: twins, their difference, its zeros, and the places of cells."""
