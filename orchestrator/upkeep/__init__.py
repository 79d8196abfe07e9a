"""Care of a store and a machine: what bytes are for, and what is wrong with either."""
