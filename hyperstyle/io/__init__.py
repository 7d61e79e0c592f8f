"""Files and where they come from: written whole or not at all, read without executing anything, found by name."""
