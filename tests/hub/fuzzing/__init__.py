"""Every operation of the JSON API, asked with what its own document allows and with what it does not."""
