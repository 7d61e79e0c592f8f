"""How the bundled model was made and measured; README.md has the commands. Nothing in the package imports it."""
