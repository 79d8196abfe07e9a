"""Tables in: columns and their names, imports of strangers' files, selections of rows."""
