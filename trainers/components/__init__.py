"""What a config is made of: components and their registries, identity, errors, and YAML with places."""
