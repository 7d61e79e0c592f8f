"""Networks published by others <-> the networks of this library, one file per family."""
