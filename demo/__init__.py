"""The demonstration behind script/demo: real data, a real portal, a real worker."""
