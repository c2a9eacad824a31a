"""When and where: the durable job, its lease, progress, cancellation, resource profiles, compute nodes."""
