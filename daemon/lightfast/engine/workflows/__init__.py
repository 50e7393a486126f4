"""Programs from YAML files, reloaded as they change."""
