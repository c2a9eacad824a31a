"""One file for each family of formats: opened with the reader that will use it, without keeping its content in memory."""
