"""How the broker is reached: address, connection, TLS, and what it says of itself."""
