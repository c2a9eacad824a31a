"""Who: organisations, people, roles, keys, preferences, notifications, audit."""
