"""Reading tables: what a file is (by content), and its rows in batches."""
