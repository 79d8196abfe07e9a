"""Questions put to a fit: optimum, isoFLOP curves, hold-out, criticism, design of the next runs."""
