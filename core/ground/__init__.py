"""What the rest of core stands on and a plugin's author rarely sees: reading, cleaning, strangers' code, memory."""
