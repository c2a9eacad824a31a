"""The portal's pages of data sets, records, quality and versions; uploads have a module of their own."""
