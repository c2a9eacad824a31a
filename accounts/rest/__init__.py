"""What all REST endpoints share: keys, permissions, problems, paging, throttling, idempotency."""
