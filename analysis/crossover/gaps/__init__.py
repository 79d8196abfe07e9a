"""How far two paradigms are apart, beside where they cross: ratios at equal loss, responses to an axis,
shares of a gap."""
