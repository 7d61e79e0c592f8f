"""Programs that use hyperstyle; each file here runs as it stands, `avatars` is a package of its own."""
