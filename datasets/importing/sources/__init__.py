"""One file for each kind of source; `datasets.importing.base.Source` is what each of them is."""
