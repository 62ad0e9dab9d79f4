"""How values from outside are checked and YAML is read; `engine.config` is the way in."""
